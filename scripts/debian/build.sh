#!/usr/bin/env bash
# Makes a Debian package of a program that was built: linger_VERSION_ARCHITECTURE.deb.
#
# The same program and commit give the same package, bit for bit. DEBFULLNAME and DEBEMAIL say who makes it. Needs dpkg-dev,
# python3, and cargo for the licences of what the program contains.
set -euo pipefail

usage() { echo "usage: scripts/debian/build.sh PROGRAM DIRECTORY" >&2; exit 2; }
[ $# -eq 2 ] && [ -x "$1" ] && [ -d "$2" ] || usage
program=$(realpath "$1")
to=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
umask 022

# A pre-release comes before the release: ~.
version=$(sed -nE '0,/^version/s/^version = "(.*)"/\1/p' Cargo.toml)
version=${version/-/\~}-1
architecture=$(dpkg --print-architecture)
maintainer="${DEBFULLNAME:-The linger contributors} <${DEBEMAIL:-linger@linger.invalid}>"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
doc=$root/usr/share/doc/linger

# put MODE FILE PLACE
put() { install -D -m "$1" "$2" "$root/$3"; }
packed() { gzip -9n >"$1"; }

put 755 "$program" usr/bin/linger
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/linger"
mkdir -p "$root/etc/linger" "$root/usr/share/man/man1" "$doc/examples"
"$program" config >"$root/etc/linger/linger.toml"
put 644 scripts/systemd/linger.service usr/lib/systemd/system/linger.service
put 644 scripts/systemd/linger.socket usr/lib/systemd/system/linger.socket
put 644 scripts/debian/linger.sysusers usr/lib/sysusers.d/linger.conf

"$program" man --all "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*
# completions SHELL PLACE
completions() { "$program" completions "$1" >"$work/completions" && put 644 "$work/completions" "$2"; }
completions bash usr/share/bash-completion/completions/linger
completions zsh usr/share/zsh/vendor-completions/_linger
completions fish usr/share/fish/vendor_completions.d/linger.fish

put 644 scripts/grafana/linger.json usr/share/doc/linger/examples/grafana.json
put 644 scripts/prometheus/linger.rules.yml usr/share/doc/linger/examples/linger.rules.yml
put 644 scripts/debian/lintian-overrides usr/share/lintian/overrides/linger
packed "$doc/changelog.gz" <CHANGELOG.md
packed "$doc/changelog.Debian.gz" <<CHANGELOG
linger ($version) unstable; urgency=medium

  * linger ${version%-*}; changelog.gz has what is new.

 -- $maintainer  $(date -uR -d "@$SOURCE_DATE_EPOCH")
CHANGELOG
python3 scripts/notices.py | packed "$doc/crates.gz"
# The text of the licence behind its line of copyright, indented, and its empty lines as dots.
sed -n '/^Permission/,$p' LICENSE-MIT | sed -E 's/^$/./; s/^/ /' >"$work/mit"
sed -e "/^@MIT@/{r $work/mit" -e 'd}' scripts/debian/copyright >"$doc/copyright"

mkdir -p "$root/DEBIAN" "$work/debian"
install -m 755 scripts/debian/{postinst,prerm,postrm} "$root/DEBIAN"
echo /etc/linger/linger.toml >"$root/DEBIAN/conffiles"
# dpkg-shlibdeps wants to see the source of a package.
printf 'Source: linger\n\nPackage: linger\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O root/usr/bin/linger 2>"$work/shlibdeps" | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { cat "$work/shlibdeps" >&2; exit 1; }
(cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
sed -e "s|@VERSION@|$version|; s|@ARCHITECTURE@|$architecture|; s|@MAINTAINER@|$maintainer|; s|@DEPENDS@|$depends|" \
    -e "s|@SIZE@|$(du -k --apparent-size -s "$root" | cut -f1)|" scripts/debian/control >"$root/DEBIAN/control"
chmod 644 "$root"/DEBIAN/{control,conffiles,md5sums} "$root/etc/linger/linger.toml" "$doc"/*.gz "$doc/copyright" \
    "$root"/usr/share/man/man1/*
find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
package=linger_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$to/$package" >/dev/null
echo "$to/$package"
