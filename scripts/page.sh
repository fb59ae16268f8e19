# The step `page` of scripts/ci.sh, for `source`: the page of the admin interface in a real Chromium. Wants `want`, `skip` and $logs.
# shellcheck shell=bash

: "${logs:?is where logs go}"

# python_with_selenium: prints the interpreter that has it.
python_with_selenium() {
    local python
    # Debian's package is for Debian's own interpreter, which need not come first on the path.
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import selenium' 2>/dev/null; then echo "$python"; return; fi
    done
    return 1
}

want python3 python3 || skip "python3 is not installed"
want chromium chromium || skip "chromium is not installed"
want chromedriver chromium-driver || skip "chromedriver (chromium-driver) is not installed"
# It has no command of its own to look for.
python_with_selenium >/dev/null || want selenium python3-selenium
python=$(python_with_selenium) || skip "python3-selenium is not installed"
cargo build --locked --release || return 1
"$python" scripts/page.py target/release/linger --failed "$logs/page-failed.png"
