"""`sher2 up`: the interface on the loopback address and behind its guard, arrivals taken in, killed parts back again."""

import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import yaml

from orchestration.publication import current_build_id
from orchestration.resident import is_resident
from orchestration.simulate import write_study
from orchestration.study import load_study
from tests.conftest import make_home
from tests.served import HEADING, RUNS, Served, eventually, free_port, has_sample, put, put_sample

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

LAUNCH = (
    "mutation { launchRun(executionParams: {mode: \"default\", selector: {repositoryLocationName: \"sher2\","
    " repositoryName: \"__repository__\", jobName: \"pipeline\"}})"
    " { __typename ... on LaunchRunSuccess { run { runId } } } }"
)  # fmt: skip


class Hook(http.server.BaseHTTPRequestHandler):
    """A webhook that keeps what it is told."""

    def do_POST(self):
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hook():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.told = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def served(tmp_path_factory, hook):
    home = make_home(tmp_path_factory.mktemp("up"))
    write_study(home.settings.home.parent / "out", 10, 5)
    alert = {"SHER2_ALERT": f"http://127.0.0.1:{hook.server_port}/sher2"}
    up = Served(home, free_port(), surroundings=os.environ | alert)
    assert up.host in up.line, up.line
    yield up
    if up.process.poll() is None:
        up.process.send_signal(signal.SIGTERM)
        up.process.wait(60)


# --- arrivals -------------------------------------------------------------------------------------------------------


def test_exports_dropped_together_are_published_by_few_runs(served):
    home, out = served.home, served.home.settings.home.parent / "out"
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    for path in files:
        put(home, path.relative_to(out).as_posix(), path.read_bytes())
    eventually(home.settings.warehouse.exists, "a first publication")
    eventually(lambda: home.value("select count(*) from ops.files") == len(files), "every file has a verdict")
    assert home.value("select count(*) from marts.dim_subject") == 10
    assert home.value("select count(*) from metrics.estimates where build_id is null") == 0
    assert len(served.runs()) <= 4 < len(files)


def test_a_file_that_is_still_written_is_left_alone_until_it_is_whole(served):
    path = served.home.settings.landing / "lab" / "slow.csv"
    put_sample(served.home, "slow")
    text = path.read_text()
    served_before = served.home.value("select count(*) from ops.files")
    path.unlink()
    with path.open("w") as file:
        for part in (text[:80], text[80:150], text[150:-8], text[-8:]):
            file.write(part)
            file.flush()
            time.sleep(1.2)
    eventually(lambda: has_sample(served.home, "slow"), "the whole file is published")
    assert served.home.value("select count(*) from ops.files") == served_before + 1
    assert served.home.value("select count(*) from ops.quarantine where path = 'lab/slow.csv'") == 0


def test_what_the_interface_shows_is_what_the_worker_did(served):
    nodes = served.ask("{ assetNodes { assetKey { path } groupName assetMaterializations(limit: 1) { runId } } }")
    groups = {node["groupName"] for node in nodes["assetNodes"]}
    assert {"landing", "raw", "staging", "intermediate", "marts", "metrics", "ops", "publication"} <= groups
    runs = served.runs()
    eventually(lambda: set(served.runs().values()) == {"SUCCESS"}, "every run ends well")
    made = {"/".join(n["assetKey"]["path"]): n["assetMaterializations"] for n in nodes["assetNodes"]}
    assert made["warehouse"][0]["runId"] in runs and made["reports/efficacy"]


def test_a_run_that_fails_in_the_worker_is_told_and_its_recovery_too(served, hook):
    eventually(lambda: is_resident(served.home.settings), "the worker is there")
    build_id, before = current_build_id(served.home.settings), len(hook.told)

    def deliver(day: str) -> None:
        rows = [f"S,F{n},42914-2,17,ng/mL,{day},2024-03-02,F,SERUM,FLOOD" for n in range(400)]
        put(served.home, "lab/flood.csv", "\n".join([HEADING, *rows, ""]).encode())

    deliver("03/01/2024")  # in no declared format: every row is quarantined
    eventually(lambda: len(hook.told) > before, "the failure is told")
    told = hook.told[-1]
    assert (told["event"], told["alarm"], told["stage"]) == ("failure", "run", "reading files")
    assert current_build_id(served.home.settings) == build_id and "03/01" not in json.dumps(hook.told)
    deliver("2024-03-01")
    eventually(lambda: hook.told[-1]["event"] == "recovery", "the recovery is told")
    assert [one["event"] for one in hook.told[before:]] == ["failure", "recovery"]
    eventually(lambda: current_build_id(served.home.settings) != build_id, "the mended export is published")


def test_a_mended_protocol_is_followed(served):
    study_file = served.home.settings.study_file
    content = yaml.safe_load(study_file.read_text())
    content["schedule"]["daily_at"] = "04:30"
    content["study"]["timezone"] = "Europe/Madrid"
    content["analytes"]["serum_her2"]["cutoff_ng_ml"] = 12
    study_file.write_text(yaml.safe_dump(content))
    query = "{ schedulesOrError(repositorySelector: {repositoryName: \"__repository__\", repositoryLocationName: \"sher2\"}) { ... on Schedules { results { cronSchedule executionTimezone } } } }"  # fmt: skip

    def schedule():
        try:
            return served.ask(query)["schedulesOrError"]["results"]
        except (OSError, http.client.HTTPException, AssertionError, KeyError):
            return None  # just starting anew

    eventually(
        lambda: schedule() == [{"cronSchedule": "30 4 * * *", "executionTimezone": "Europe/Madrid"}], "the new time"
    )
    study_hash = load_study(study_file).study_hash
    newest = "select study_hash from ops.publications order by rowid desc limit 1"
    eventually(lambda: served.home.value(newest) == study_hash, "numbers by the new protocol")


# --- parts that are killed ------------------------------------------------------------------------------------------


def test_killed_parts_come_back_and_the_next_file_is_published(served):
    eventually(lambda: is_resident(served.home.settings), "the worker is there")
    killed = {word: served.pid_of(word) for word in ("orchestration.webserver", "_daemon", "orchestration.resident")}
    assert all(killed.values()), served.processes()
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    put_sample(served.home, "after-the-kill")
    eventually(lambda: has_sample(served.home, "after-the-kill"), "the file is published")
    for word, pid in killed.items():
        eventually(lambda word=word, pid=pid: served.pid_of(word) not in (None, pid), f"{word} runs again")


def test_a_worker_killed_in_a_run_leaves_no_run_open_and_nothing_out(served):
    eventually(lambda: is_resident(served.home.settings), "the worker is there")
    before = set(served.runs())
    put_sample(served.home, "in-the-kill")
    eventually(lambda: "STARTED" in [s for run, s in served.runs().items() if run not in before], "a run has begun")
    os.kill(served.pid_of("orchestration.resident"), signal.SIGKILL)
    eventually(lambda: has_sample(served.home, "in-the-kill"), "the file is published")
    eventually(lambda: {"STARTED", "STARTING", "QUEUED"}.isdisjoint(served.runs().values()), "no run stays open")


# --- who may reach it -----------------------------------------------------------------------------------------------


def test_only_the_loopback_address_listens(served):
    inodes = set()
    for pid in served.processes():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(os.readlink(descriptor))
            except FileNotFoundError:
                continue
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in inodes
    ]
    loopback = ("0100007F:", "00000000000000000000000001000000:", "0000000000000000FFFF00000100007F:")
    assert f"0100007F:{served.port:04X}" in listening
    assert all(address.startswith(loopback) for address in listening), listening


JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PLAIN = {"Content-Type": "text/plain"}
EVIL = {"Origin": "http://evil.example"}
NEIGHBOUR = {"Origin": "http://127.0.0.1:9"}
CROSS = {"Sec-Fetch-Site": "cross-site"}
SAME_SITE = {"Sec-Fetch-Site": "same-site"}
REBOUND = {"Host": "evil.example"}
MUTATION = json.dumps({"query": LAUNCH})
BY_GET = "/graphql?query=" + LAUNCH.replace(" ", "%20").replace('"', "%22")
CHECK = "/report_asset_check/raw/lab_results?check_name=critical&passed=true"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "graphql-ws",
}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", BY_GET, {}, ""),
        ("GET", "/graphql/" + BY_GET.removeprefix("/graphql"), {}, ""),
        ("HEAD", BY_GET, {}, ""),
        ("POST", BY_GET, FORM, ""),
        ("POST", "/graphql", FORM, MUTATION),
        ("POST", "/graphql", PLAIN, MUTATION),
        ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}, MUTATION),
        ("POST", "/graphql", {"Content-Type": "application/graphql"}, LAUNCH),
        ("POST", "/graphql", {}, MUTATION),
        ("POST", "/graphql", JSON | EVIL, MUTATION),
        ("POST", "/graphql", JSON | NEIGHBOUR, MUTATION),
        ("POST", "/graphql", JSON | {"Origin": "null"}, MUTATION),
        ("POST", "/graphql", JSON | CROSS, MUTATION),
        ("POST", "/graphql", JSON | SAME_SITE, MUTATION),
        ("POST", "/graphql", JSON | REBOUND, MUTATION),
        ("POST", "/graphql", JSON | REBOUND | {"Origin": "http://evil.example"}, MUTATION),
        ("POST", "/graphql", JSON | {"Host": "127.0.0.1"}, MUTATION),
        ("PUT", "/graphql", JSON, MUTATION),
        ("OPTIONS", "/graphql", EVIL | {"Access-Control-Request-Method": "POST"}, ""),
        ("POST", CHECK, JSON, "{}"),
        ("POST", CHECK, FORM, ""),
        ("GET", CHECK, {}, ""),
        ("POST", "/report_asset_materialization/warehouse", JSON, "{}"),
        ("POST", "/report_asset_observation/warehouse", JSON, "{}"),
        ("GET", "/", REBOUND, ""),
        ("GET", "/reports/efficacy.html", REBOUND, ""),
        ("GET", "/reports/efficacy.html", EVIL, ""),
        ("GET", "/reports/efficacy.html", CROSS | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, ""),
        ("POST", "/reports/efficacy.html", JSON, "{}"),
        ("GET", "/reports/../warehouse.duckdb", {}, ""),
        ("GET", "/reports/%2e%2e/warehouse.duckdb", {}, ""),
        ("GET", "/reports/..%2fwarehouse.duckdb", {}, ""),
        ("GET", "/reports/%2fetc%2fpasswd", {}, ""),
        ("GET", "/cuts/..%2fbuild%2fwarehouse.duckdb", {}, ""),
        ("GET", "/cuts/%00.html", {}, ""),
        ("GET", "/server_info", EVIL, ""),
        ("GET", "/server_info", CROSS | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, ""),
        ("GET", "/", CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, ""),
        ("GET", "/graphql", UPGRADE | EVIL, ""),
        ("GET", "/graphql", UPGRADE, ""),
        ("GET", "/graphql", UPGRADE | REBOUND | {"Origin": "http://evil.example"}, ""),
    ],
)  # fmt: skip
def test_what_another_page_could_send_is_refused(served, method, path, headers, body):
    before = served.runs()
    status, _ = served.request(method, path, headers, body)
    assert 400 <= status < 500
    assert served.runs() == before


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/assets/marts/fct_response", {"Host": "localhost"}, 200),
        ("GET", "/", CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ("GET", "/server_info", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("POST", "/graphql", JSON | {"Origin": "same", "Sec-Fetch-Site": "same-origin"}, 200),
        ("GET", "/graphql", UPGRADE | {"Origin": "same"}, 101),
    ],
)  # fmt: skip
def test_what_its_own_pages_send_is_answered(served, method, path, headers, expected):
    named = {"localhost": f"localhost:{served.port}", "same": f"http://{served.host}"}
    headers = {name: named.get(value, value) for name, value in headers.items()}
    body = json.dumps({"query": RUNS}) if method == "POST" else ""
    assert served.request(method, path, headers, body)[0] == expected


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("/reports/efficacy.html", "text/html"),
        ("/reports/data/waterfall.csv", "text/csv"),
        ("/reports/validation/index.html", "text/html"),
        ("/reports/catalog/index.html", "text/html"),
    ],
)
def test_report_documents_and_catalog_are_read_through_the_interface_and_cannot_drive_it(served, page, kind):
    eventually(lambda: served.request("GET", page)[0] == 200, f"{page} is there")
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("GET", page)
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith(kind) and answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers.get_all("content-security-policy")[0]
    assert "default-src 'none'" in policy and "connect-src" not in policy and "allow-same-origin" not in policy
    assert ("script-src" in policy) == ("sandbox" in policy) == ("catalog" in page)
    connection.close()


def test_the_interface_links_to_the_pages(served):
    asked = served.ask(
        "{ assetNodes { assetMaterializations(limit: 1)"
        " { metadataEntries { label ... on UrlMetadataEntry { url } } } } }"
    )
    entries = [
        entry for node in asked["assetNodes"] for one in node["assetMaterializations"] for entry in one["metadataEntries"]
    ]
    links = {entry["url"] for entry in entries if entry.get("url")}
    assert {"/reports/efficacy.html", "/reports/validation/index.html", "/reports/catalog/index.html"} <= links
    assert {served.request("GET", link)[0] for link in links} == {200}


def test_no_other_page_can_frame_it(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("GET", "/")
    headers = connection.getresponse().headers
    connection.close()
    assert "frame-ancestors 'self'" in headers.get_all("content-security-policy")
    assert headers["x-frame-options"] == "SAMEORIGIN"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", profile):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


def from_page(browser, script: str, *arguments) -> str:
    """What a script in the page that is open resolves to, or the name of its error."""
    call = f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, e => done(e.name))"
    return browser.execute_async_script(call, *arguments)


SENDERS = {
    "json": "return (await fetch(arguments[0] + '/graphql', {method: 'POST', body: arguments[1],"
    " headers: {'Content-Type': 'application/json'}})).status",
    "plain": "return (await fetch(arguments[0] + '/graphql', {method: 'POST', mode: 'no-cors', body: arguments[1]})).type",
    "get": "return (await fetch(arguments[0] + arguments[2], {mode: 'no-cors'})).type",
    "beacon": "return navigator.sendBeacon(arguments[0] + arguments[3], '{}')",
    "form": "const f = document.createElement('form'); f.method = 'post'; f.target = 'x'; f.action = arguments[0]"
    " + arguments[2]; document.body.append(f); f.submit(); await new Promise(r => setTimeout(r, 1000)); return 'sent'",
    "socket": "return await new Promise(r => { const s = new WebSocket(arguments[0].replace('http', 'ws') + '/graphql',"
    " 'graphql-ws'); s.onopen = () => r('open'); s.onerror = () => r('refused') })",
}


def test_another_page_in_the_same_browser_cannot_start_a_run_or_forge_a_check(served, browser, tmp_path):
    (tmp_path / "index.html").write_text("<title>another page</title><iframe name=x></iframe>")
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *a: handler(*a, directory=str(tmp_path))
    ) as neighbour:
        threading.Thread(target=neighbour.serve_forever, daemon=True).start()
        before = served.runs()
        browser.get(f"http://127.0.0.1:{neighbour.server_port}/")
        answers = {
            name: from_page(browser, script, f"http://{served.host}", MUTATION, BY_GET, CHECK)
            for name, script in SENDERS.items()
        }
        neighbour.shutdown()
    assert served.runs() == before, answers
    assert answers["socket"] == "refused"


def test_the_interface_works_and_its_button_does_the_same_work(served, browser):
    browser.get(f"http://{served.host}/asset-groups")
    eventually(lambda: "marts" in browser.find_element("tag name", "body").text, "the asset groups are shown")
    before = served.runs()
    eventually(lambda: has_no_open_run(served), "nothing is under way")
    sent = "return (await (await fetch('/graphql', {method: 'POST', body: arguments[0], headers: {'Content-Type': 'application/json'}})).json()).data.launchRun"  # fmt: skip
    launched = from_page(browser, sent, MUTATION)
    assert launched["__typename"] == "LaunchRunSuccess"
    run = launched["run"]["runId"]
    eventually(lambda: served.runs()[run] in ("SUCCESS", "FAILURE"), "the run ends")
    assert run not in before and served.runs()[run] == "SUCCESS"
    steps = served.ask(f'{{ runOrError(runId: "{run}") {{ ... on Run {{ stepStats {{ stepKey status }} }} }} }}')
    done = {step["stepKey"] for step in steps["runOrError"]["stepStats"] if step["status"] == "SUCCESS"}
    assert {"raw", "publication", "reports__efficacy"} <= done


def has_no_open_run(served) -> bool:
    return {"STARTED", "STARTING", "QUEUED"}.isdisjoint(served.runs().values())


# --- one home, one of it, and its end -------------------------------------------------------------------------------


def test_a_second_one_on_the_same_home_is_refused(served):
    refused = served.home.sher2("up", "--port", str(free_port()))
    assert refused.returncode == 2 and "served already" in refused.stderr


def test_a_signal_stops_it_cleanly(served):
    family = served.processes()
    build_id = current_build_id(served.home.settings)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", served.port)) != 0
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "every process has ended")
    assert current_build_id(served.home.settings) == build_id


def test_children_end_with_their_parent_however_it_ends(tmp_path):
    up = Served(make_home(tmp_path), free_port())
    assert up.host in up.line
    family = up.processes()
    up.process.kill()
    up.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "every process has ended")
