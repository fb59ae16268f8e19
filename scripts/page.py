#!/usr/bin/env python3
"""The page of the admin interface in a real Chromium: what it shows, how it ends a connection, and who may not.

Wants chromium, chromedriver and python3-selenium.
"""

import argparse
import contextlib
import http.server
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

DEADLINE = 60
MARKUP = "<img/src=x/onerror=document.title=1>"
TOKEN = "a-token-of-twenty-bytes"

# The texts that can be seen, of which the contrast with what is behind them is less than WCAG 2 wants (4.5), with it.
CONTRAST = """
const light = color => {
  const parts = color.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const behind = element => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$/.test(color)) return color;
  }
  return 'rgb(255, 255, 255)';
};
const poor = [];
for (const element of document.querySelectorAll('body *')) {
  const text = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  if (!text || !element.checkVisibility() || element.tagName === 'OPTION') continue;
  const [one, other] = [getComputedStyle(element).color, behind(element)].map(light);
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (contrast < 4.5) poor.push(`${element.tagName} ${element.textContent.slice(0, 20)} ${contrast.toFixed(1)}`);
}
return poor;
"""

# What is wider than where it stands.
TOO_WIDE = """
const wide = [...document.querySelectorAll('section *, dialog[open] *')].filter(element => {
  const room = element.closest('dialog, section');
  return element.checkVisibility() && element.getBoundingClientRect().right > room.getBoundingClientRect().right + 1;
}).map(element => `${element.tagName} ${element.textContent.slice(0, 30)}`);
if (document.documentElement.scrollWidth > innerWidth) wide.push(`page ${document.documentElement.scrollWidth}`);
return wide;
"""


def wait(what, condition):
    """Waits until that is so, and returns it."""
    until = time.monotonic() + DEADLINE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(linger, directory, more=""):
    """A server with listeners for devices and for echoes, and a gateway; its ports."""
    ports = {name: free_port() for name in ["admin", "devices", "echo", "gateway"]}
    config = pathlib.Path(directory, "linger.toml")
    config.write_text(
        f"""{more}
[admin]
address = "127.0.0.1:{ports['admin']}"
{f'token_file = "{directory}/token"' if 'workers' in more else ''}
[[listener]]
name = "devices"
protocol = "resp"
address = "127.0.0.1:{ports['devices']}"
[[listener]]
name = "echo"
protocol = "echo"
address = "127.0.0.1:{ports['echo']}"
[[listener]]
name = "gateway"
protocol = "tcp"
address = "127.0.0.1:{ports['gateway']}"
upstream = "app"
[upstream.app]
servers = "127.0.0.1:{ports['echo']}"
"""
    )
    pathlib.Path(directory, "token").write_text(TOKEN)
    log = open(pathlib.Path(directory, "linger.log"), "w")
    child = subprocess.Popen([linger, "serve", "--config", str(config)], stdout=log, stderr=log)
    try:

        def answers():
            assert child.poll() is None, pathlib.Path(log.name).read_text()
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"http://127.0.0.1:{ports['admin']}/readyz", timeout=5).status == 200

        wait("the server", answers)
        yield ports
    finally:
        child.terminate()
        child.wait(DEADLINE)


def device(ports, identity, beat=600):
    client = socket.create_connection(("127.0.0.1", ports["devices"]), timeout=DEADLINE)
    client.sendall(f"IDENT {identity} BEAT {beat}\r\n".encode())
    assert client.recv(100) == b"+OK\r\n"
    return client


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


class Page:
    """A browser that shows the page."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        # As root, Chromium has no sandbox of its own.
        for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000", "--hide-scrollbars"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def open(self, port, path="/"):
        self.driver.get(f"http://127.0.0.1:{port}{path}")

    def one(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def texts(self, css):
        # In one step: rows come and go.
        return self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(element => element.innerText.trim())", css
        )

    def clients(self):
        return self.texts("#connections tbody tr td:first-child")

    def click(self, css, text):
        self.driver.execute_script(
            "[...document.querySelectorAll(arguments[0])].find(one => one.innerText.trim() === arguments[1]).click()", css, text
        )

    def filter(self, text):
        field = self.one("#whom")
        field.clear()
        field.send_keys(text, Keys.ENTER)

    def focus(self):
        return self.driver.switch_to.active_element

    def key(self, key):
        self.focus().send_keys(key)

    def tab_to(self, what, wanted):
        """Goes there by the Tab key alone, and sees where it is all the way."""
        for _ in range(100):
            self.key(Keys.TAB)
            element = self.focus()
            outline = element.value_of_css_property("outline-style")
            # Behind the last place of a dialog comes the browser itself.
            assert outline != "none" or element.tag_name == "body", f"the focus cannot be seen on {element.get_attribute('outerHTML')[:100]}"
            if wanted(element):
                return
        raise AssertionError(f"no way to {what} by Tab")

    def looks(self, scheme, width):
        """The page in that color scheme and width; what is wrong with it."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        back = self.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        is_dark = sum(int(part) for part in back[4:-1].split(",")) < 3 * 128
        assert is_dark == (scheme == "dark"), f"{scheme}: {back}"
        for script in [CONTRAST, TOO_WIDE]:
            found = self.driver.execute_script(script)
            assert not found, f"{scheme}, {width} wide: {found}"

    def remarks(self, but=()):
        """What the browser has to remark: errors, and what the policy has kept from the page."""
        lines = [entry["message"] for entry in self.driver.get_log("browser")]
        return [line for line in lines if not any(part in line for part in but)]


def shows(page, ports, clients):
    page.open(ports["admin"])
    wait("the devices", lambda: {name for name in clients if name not in ["pump-frozen", "through"]} <= set(page.clients()))
    assert page.texts("#listeners tbody td:first-child") == ["devices", "echo", "gateway"]
    wait("the upstream", lambda: page.texts("#upstreams tbody td:first-child") == [f"app: 127.0.0.1:{ports['echo']}"])
    assert page.driver.title == "linger" and not page.driver.find_elements(By.TAG_NAME, "img"), "text of a client is no markup"
    assert MARKUP in page.clients()
    parts = page.driver.find_elements(By.CSS_SELECTOR, "button, input, select, summary, section, svg[role]")
    nameless = [part.get_attribute("outerHTML") for part in parts if part.is_displayed() and not part.accessible_name]
    assert not nameless, f"what has no name cannot be read out: {nameless}"
    assert len(page.driver.find_elements(By.TAG_NAME, "main")) == 1 == len(page.driver.find_elements(By.TAG_NAME, "h1"))


def tells(page, clients):
    """Clients leave, each in its own way: it is told at once, and why."""
    clients.pop("meter-02").close()
    reset(clients.pop("meter-03"))
    wait("what has happened", lambda: any("meter-02" in line and "peer.fin" in line for line in page.texts("#log li")))
    wait("one that was reset", lambda: any("meter-03" in line and "peer.reset" in line for line in page.texts("#ends tbody tr")))
    wait("one that hangs", lambda: any("pump-frozen" in line and "stuck.frozen" in line for line in page.texts("#ends tbody tr")))
    wait("the bars", lambda: page.texts("#legend li") == ["peer 2", "stuck 1"])
    assert page.one("#bars").get_attribute("aria-label") == "Endings in the last 5 minutes: 2 peer, 1 stuck"
    page.click("#ends tbody button", "pump-frozen")
    assert "still acknowledges" in page.one("#meaning").text and page.one("#meaning").text.count("What to do:") == 1
    assert not page.one("#end").is_displayed(), "it has ended"
    page.looks("light", 360)
    page.looks("light", 1280)
    page.key(Keys.ESCAPE)
    assert not page.one("#detail").is_displayed()


def filters(page):
    page.filter("meter-05")
    wait("one client", lambda: page.clients() == ["meter-05"])
    wait("no endings of it", lambda: page.texts("#ends tbody tr") == [])
    page.filter("127.0.0.0/8")
    wait("all", lambda: len(page.clients()) > 5)
    page.filter("10.0.0.0/33")
    wait("what is wrong", lambda: "peer must be an address" in page.one("#problem").text)
    page.filter("meter-02")
    wait("how one has left", lambda: len(page.texts("#ends tbody tr")) == 1 and page.clients() == [])
    page.one("#everybody").click()
    wait("everybody", lambda: len(page.clients()) > 5 and page.one("#problem").text == "")


def ends_by_keys_alone(page, clients):
    page.driver.execute_script("document.activeElement.blur()")
    page.tab_to("a connection", lambda element: element.text == "meter-05")
    page.key(Keys.ENTER)
    wait("its details", lambda: page.one("#detail").is_displayed())
    page.tab_to("the way out", lambda element: element.get_attribute("id") == "end")
    page.key(Keys.ENTER)
    assert page.focus().get_attribute("id") == "keep", "nothing is ended by one key too many"
    page.key(Keys.ESCAPE)
    assert page.focus().get_attribute("id") == "end", "the focus is where it was"
    page.key(Keys.ENTER)
    page.tab_to("the end", lambda element: element.get_attribute("id") == "do")
    page.key(Keys.ENTER)
    assert clients.pop("meter-05").recv(100) == b"-GOODBYE local.kicked\r\n"
    wait("that it is told", lambda: any("meter-05" in line and "local.kicked" in line for line in page.texts("#log li")))
    wait("that it is listed", lambda: any("meter-05" in line and "local.kicked" in line for line in page.texts("#ends tbody tr")))
    wait("that it is gone", lambda: "meter-05" not in page.clients())


def others_may_not(page, ports, clients):
    """A page of another site has the browser send what it can."""
    admin = f"http://127.0.0.1:{ports['admin']}"
    with urllib.request.urlopen(f"{admin}/connections?identity=meter-06") as answer:
        key = answer.read().decode().split('"key":"')[1].split('"')[0]
    evil = f"""<!DOCTYPE html><link rel="icon" href="data:,"><title>evil</title>
<iframe name="there"></iframe><form id="form" target="there" method="post" action="{admin}/connections/{key}/end"></form><script>
Promise.allSettled([fetch('{admin}/connections/{key}/end', {{method: 'POST', mode: 'no-cors'}}), fetch('{admin}/connections')])
  .then(([sent, read]) => {{ document.title = `${{sent.status}} ${{read.status}}`; form.submit(); }});</script>"""

    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(evil.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    # Of the same host, but not of the same origin; and of another host.
    for host in ["127.0.0.1", "localhost"]:
        page.driver.get(f"http://{host}:{server.server_port}/")
        wait("its attempts", lambda: page.driver.title == "fulfilled rejected")
        page.driver.switch_to.frame("there")
        wait("the answer to its form", lambda: "refused" in page.one("body").text or "ERR_" in page.driver.page_source)
        page.driver.switch_to.default_content()
    page.remarks()
    page.driver.close()
    page.driver.switch_to.window(before)
    server.shutdown()
    clients["meter-06"].sendall(b"BEAT\r\nPING\r\n")
    assert b"+PONG\r\n" in clients["meter-06"].recv(100), "it lives"


def with_workers_and_a_token(page, linger, directory):
    with serving(linger, directory, "[server]\nworkers = 2") as ports:
        clients = {name: device(ports, name) for name in ["meter-01", "meter-02"]}
        page.open(ports["admin"])
        wait("the question for a token", lambda: page.one("#login").is_displayed())
        assert page.clients() == [] and page.focus().get_attribute("id") == "token"
        page.key("wrong" + Keys.ENTER)
        wait("the question again", lambda: page.one("#login").is_displayed() and "token" in page.one("#problem").text)
        page.one("#token").send_keys(TOKEN, Keys.ENTER)
        wait("the devices", lambda: sorted(page.clients()) == sorted(clients))
        wait("the workers", lambda: page.texts("#workers tbody td:last-child") == ["up", "up"])
        assert page.one("#problem").text == ""
        page.click("#connections tbody button", "meter-01")
        page.one("#end").click()
        page.one("#do").click()
        assert clients["meter-01"].recv(100) == b"-GOODBYE local.kicked\r\n"
        wait("that it is told", lambda: any("meter-01" in line and "local.kicked" in line for line in page.texts("#log li")))
        found = page.remarks(but=["401 (Unauthorized)"])
        assert not found, found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("linger", help="the program, as target/release/linger")
    parser.add_argument("--picture", help="writes the page there, as README shows it")
    parser.add_argument("--failed", help="writes the page there, as it is when something is wrong")
    arguments = parser.parse_args()
    linger, picture = os.path.abspath(arguments.linger), arguments.picture
    with tempfile.TemporaryDirectory() as directory:
        page = Page()
        try:
            with serving(linger, directory) as ports:
                clients = {f"meter-{at:02}": device(ports, f"meter-{at:02}") for at in range(1, 12)}
                clients[MARKUP] = device(ports, MARKUP)
                clients["pump-frozen"] = device(ports, "pump-frozen", beat=8)
                clients["through"] = socket.create_connection(("127.0.0.1", ports["gateway"]))
                steps = [
                    ("it shows who is connected", lambda: shows(page, ports, clients)),
                    ("it tells who leaves, and why", lambda: tells(page, clients)),
                    ("it filters", lambda: filters(page)),
                    ("a connection is ended by keys alone", lambda: ends_by_keys_alone(page, clients)),
                    ("it is legible dark and light, wide and narrow", lambda: [page.looks(s, w) for s in ["dark", "light"] for w in [360, 1280]]),
                    ("the browser has nothing to remark", lambda: None),
                    ("pages of other sites are refused", lambda: others_may_not(page, ports, clients)),
                ]
                for what, step in steps:
                    step()
                    found = page.remarks(but=["400 (Bad Request)"])
                    assert not found, found
                    print(f"ok {what}", flush=True)
                if picture:
                    page.driver.save_screenshot(picture)
            with_workers_and_a_token(page, linger, directory)
            print("ok with workers and a token", flush=True)
        except Exception:
            if arguments.failed:
                page.driver.save_screenshot(arguments.failed)
            raise
        finally:
            page.driver.quit()


main()
