"""Log-ins are kept as Docker keeps them, and nothing else in its configuration changes."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swapbox.errors import DataError, InvalidInput, SwapboxError, Unavailable
from swapbox_registry_hub import json_edit
from swapbox_registry_hub.credentials import HUB_KEY, Credentials, Keyring
from swapbox_registry_hub.helpers import Helper

ANN = Credentials("ann", "se:cret")
AUTH = "YW5uOnNlOmNyZXQ="

HELPER = """\
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
path = f"{here}/{os.path.basename(__file__)}.kept"
kept = json.load(open(path)) if os.path.exists(path) else {}
word, text = sys.argv[1], sys.stdin.read()
open(f"{path}.calls", "a").write(f"{word} {text}\\n")
if word == "list":
    print(json.dumps({server: user for server, (user, _) in kept.items()}))
elif word == "store":
    new = json.loads(text)
    kept[new["ServerURL"]] = [new["Username"], new["Secret"]]
elif text not in kept:
    print("credentials not found in native keychain")
    sys.exit(1)
elif word == "get":
    print(json.dumps({"ServerURL": text, "Username": kept[text][0], "Secret": kept[text][1]}))
elif word == "erase":
    del kept[text]
json.dump(kept, open(path, "w"))
"""
"""A credential helper after the protocol of docker-credential-helpers, with a log of its calls."""


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(environ={"DOCKER_CONFIG": str(tmp_path), "PATH": str(tmp_path)}, warn=pytest.fail)


def make_helper(folder: Path, name: str) -> Path:
    """Write a helper; return the file with its calls."""
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!{sys.executable} -IS\n{HELPER}")
    program.chmod(0o755)
    return folder / f"{program.name}.kept.calls"


# -- the file -----------------------------------------------------------------------------------------------------


def test_the_first_log_in_makes_the_file_as_docker_does(keyring: Keyring) -> None:
    assert keyring.store("ghcr.io", ANN)
    expected = '{\n\t"auths": {\n\t\t"ghcr.io": {\n\t\t\t"auth": "' + AUTH + '"\n\t\t}\n\t}\n}'
    assert keyring.path.read_text() == expected
    assert stat.S_IMODE(keyring.path.stat().st_mode) == 0o600
    assert keyring.get("ghcr.io") == ANN


ODD = """{ "psFormat" : "table {{.Names}}\\u0020",   "x": [1,2 , 3.0e1],
    "auths" :{
      "quay.io": {"auth": "Ym9iOng="  }, "ghcr.io": {"auth":"b2xk"}
  },
 "HttpHeaders": {"a" : "b"} }

"""


def test_everything_else_stays_byte_for_byte(keyring: Keyring) -> None:
    keyring.path.write_text(ODD)
    keyring.store("localhost:5000", ANN)
    inserted = keyring.path.read_text()
    written = '"localhost:5000": {\n            "auth": "' + AUTH + '"\n        }'
    assert inserted == ODD.replace('{"auth":"b2xk"}', '{"auth":"b2xk"}, ' + written)
    keyring.erase("localhost:5000")
    assert keyring.path.read_text() == ODD
    keyring.erase("quay.io")
    assert keyring.path.read_text() == ODD.replace('"quay.io": {"auth": "Ym9iOng="  }, ', "")
    keyring.erase("ghcr.io")
    assert '"auths" :{},' in keyring.path.read_text()


def test_lines_end_as_the_files_do(keyring: Keyring) -> None:
    text = b'{\r\n  "auths": {},\r\n  "names": "\xc3\xa4"\r\n}\r\n'
    keyring.path.write_bytes(text)
    keyring.store("ghcr.io", ANN)
    lines = keyring.path.read_bytes().decode().split("\r\n")
    assert lines[2:5] == ['    "ghcr.io": {', f'      "auth": "{AUTH}"', "    }"]
    assert not any("\n" in line for line in lines)
    keyring.erase("ghcr.io")
    assert keyring.path.read_bytes() == text


def test_a_log_in_that_is_there_already_writes_nothing(keyring: Keyring) -> None:
    keyring.store("ghcr.io", ANN)
    before = keyring.path.stat()
    assert not keyring.store("ghcr.io", ANN)
    assert keyring.path.stat() == before


def test_logging_out_of_nothing_makes_no_file(keyring: Keyring) -> None:
    keyring.erase("ghcr.io")
    assert not keyring.path.exists()


def test_logging_out_forgets_every_name_of_the_host(keyring: Keyring) -> None:
    keys = ("ghcr.io", "https://ghcr.io/v1/", "http://ghcr.io", "ghcr.io:5000")
    keyring.path.write_text(json.dumps({"auths": {key: {"auth": AUTH} for key in keys}}))
    keyring.erase("ghcr.io")
    assert list(json.loads(keyring.path.read_text())["auths"]) == ["ghcr.io:5000"]
    assert keyring.get("ghcr.io") is None


def test_docker_hub_has_the_key_that_docker_gives_it(keyring: Keyring) -> None:
    keyring.store("docker.io", ANN)
    assert list(json.loads(keyring.path.read_text())["auths"]) == [HUB_KEY]
    assert keyring.get("docker.io") == ANN
    keyring.erase("docker.io")
    assert keyring.get("docker.io") is None


def test_the_hosts_of_all_log_ins_are_listed(keyring: Keyring, tmp_path: Path) -> None:
    make_helper(tmp_path, "vault")
    keyring.path.write_text(
        json.dumps({"auths": {HUB_KEY: {"auth": AUTH}, "empty": {}}, "credHelpers": {"ghcr.io": "vault"}})
    )
    keyring.store("ghcr.io", ANN)
    Helper("vault", {"PATH": str(tmp_path)}).store(
        "others.example", "ann", "x"
    )  # no log-in of this configuration's
    assert keyring.hosts() == ["docker.io", "ghcr.io"]


def test_an_identity_token_takes_the_place_of_the_password(keyring: Keyring) -> None:
    assert not keyring.store("ghcr.io", Credentials("ann", identity_token="long"))
    entry = json.loads(keyring.path.read_text())["auths"]["ghcr.io"]
    assert entry == {"auth": "YW5uOg==", "identitytoken": "long"}
    assert keyring.get("ghcr.io") == Credentials("ann", identity_token="long")


def test_a_link_stays_a_link_and_the_file_becomes_private(keyring: Keyring, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere/docker.json"
    target.parent.mkdir()
    target.write_text("{}")
    keyring.path.symlink_to(target)
    keyring.store("ghcr.io", ANN)
    assert keyring.path.is_symlink()
    assert AUTH in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(target.parent) == [target.name]


def test_a_link_to_itself_is_an_error_and_stays_one(tmp_path: Path) -> None:
    said: list[str] = []
    keyring = Keyring(environ={"DOCKER_CONFIG": str(tmp_path)}, warn=said.append)
    keyring.path.symlink_to(keyring.path)
    with pytest.raises(SwapboxError, match=r"cannot write .*: Too many levels of symbolic links"):
        keyring.store("ghcr.io", ANN)
    assert keyring.path.is_symlink()
    assert "cannot read" in said[0]


def test_what_a_killed_log_in_has_left_goes_with_the_next(keyring: Keyring, tmp_path: Path) -> None:
    (tmp_path / ".config.json.swapbox-0a1b2c3d").write_text("half a")
    keyring.path.write_text("{}")
    keyring.path.chmod(0o644)
    keyring.store("ghcr.io", ANN)
    assert os.listdir(tmp_path) == ["config.json"]
    assert stat.S_IMODE(keyring.path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(("owner", "kept"), [(1234, 1234), (65534, 0)])
def test_the_file_stays_its_owners(keyring: Keyring, owner: int, kept: int) -> None:
    keyring.path.write_text("{}")
    os.chown(keyring.path, owner, owner)
    keyring.store("ghcr.io", ANN)
    status = keyring.path.stat()
    assert (status.st_uid, status.st_gid) == (kept, kept)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"auths": {}}}', b"\xff"])
def test_a_file_that_is_no_json_object_is_left_alone(tmp_path: Path, text: bytes) -> None:
    keyring = Keyring(environ={"DOCKER_CONFIG": str(tmp_path)}, warn=lambda _: None)
    keyring.path.write_bytes(text)
    with pytest.raises(DataError, match="cannot change"):
        keyring.store("ghcr.io", ANN)
    assert keyring.path.read_bytes() == text


def test_log_ins_at_the_same_time_are_all_kept(keyring: Keyring) -> None:
    hosts = [f"host{number}.example" for number in range(8)]
    threads = [threading.Thread(target=keyring.store, args=(host, ANN)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(json.loads(keyring.path.read_text())["auths"]) == hosts


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
_documents = st.dictionaries(st.sampled_from(["auths", "a", "b", ""]), _values, max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_documents, st.sampled_from([None, 0, 1, "\t"]), st.sampled_from(["a", "b", "new"]))
def test_a_change_is_that_of_the_parsed_document(document: dict[str, object], indent: int, key: str) -> None:
    text = json.dumps(document, indent=indent)
    auths = document.get("auths")
    auths = auths if isinstance(auths, dict) else {}
    changed = json_edit.put(text, ("auths", key), {"auth": "x"})
    assert json.loads(changed) == {**document, "auths": {**auths, key: {"auth": "x"}}}
    assert list(json.loads(changed)) == list({**document, "auths": 1})
    removed = json_edit.remove(changed, ("auths",), lambda found: found == key)
    assert json.loads(removed) == {
        **document,
        "auths": {other: value for other, value in auths.items() if other != key},
    }


# -- helpers ------------------------------------------------------------------------------------------------------


def test_a_helper_keeps_finds_lists_and_forgets(keyring: Keyring, tmp_path: Path) -> None:
    calls = make_helper(tmp_path, "vault")
    keyring.path.write_text('{"credsStore": "vault"}')
    assert not keyring.store("docker.io", ANN)
    keyring.store("ghcr.io", Credentials("ann", identity_token="long"))
    assert json.loads(keyring.path.read_text()) == {"credsStore": "vault", "auths": {HUB_KEY: {}, "ghcr.io": {}}}
    assert keyring.get("docker.io") == ANN
    assert keyring.get("ghcr.io") == Credentials(identity_token="long")
    helper = Helper("vault", {"PATH": str(tmp_path)})
    assert helper.list() == {HUB_KEY: "ann", "ghcr.io": "<token>"}
    assert keyring.hosts() == ["docker.io", "ghcr.io"]
    keyring.erase("docker.io")
    keyring.erase("docker.io")
    assert helper.list() == {"ghcr.io": "<token>"}
    assert keyring.get("docker.io") is None
    assert [line.split()[0] for line in calls.read_text().splitlines()] == [
        *("store", "store", "get", "get", "list", "list", "erase", "erase", "list", "get"),
    ]


def test_only_the_helper_of_the_host_is_called(keyring: Keyring, tmp_path: Path) -> None:
    every, one = make_helper(tmp_path, "every"), make_helper(tmp_path, "one")
    keyring.path.write_text('{"credsStore": "every", "credHelpers": {"ghcr.io": "one", "quay.io": "nosuch"}}')
    keyring.store("ghcr.io", ANN)
    assert keyring.get("ghcr.io") == ANN
    keyring.erase("ghcr.io")
    assert not every.exists()
    keyring.get("localhost:5000")
    assert every.read_text() == "get localhost:5000\n"
    assert len(one.read_text().splitlines()) == 3


def test_a_helper_that_fails_is_an_error_with_its_words(keyring: Keyring, tmp_path: Path) -> None:
    (tmp_path / "docker-credential-bad").write_text("#!/bin/sh\necho locked; exit 3\n")
    (tmp_path / "docker-credential-bad").chmod(0o755)
    keyring.path.write_text('{"credsStore": "bad"}')
    with pytest.raises(Unavailable, match="docker-credential-bad store failed: locked") as caught:
        keyring.store("ghcr.io", ANN)
    assert "cret" not in caught.value.message
    keyring.path.write_text('{"credsStore": "nosuch"}')
    with pytest.raises(Unavailable, match="cannot run docker-credential-nosuch"):
        keyring.store("ghcr.io", ANN)
    keyring.path.write_text('{"credsStore": "../x"}')
    with pytest.raises(InvalidInput, match="invalid credential helper"):
        keyring.erase("ghcr.io")
