"""``login`` and ``logout`` beside Docker's, with Debian's registry behind a password."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from swapbox.errors import Unsupported
from swapbox.testing.certificates import Authority
from swapbox.testing.process import Engine, Result
from swapbox.testing.sandbox import Sandbox
from swapbox.testing.servers import HTPASSWD, docker_registry
from swapbox.testing.token_server import TokenServer

pytestmark = pytest.mark.debian

USER, PASSWORD, _ = HTPASSWD


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that lets one user in."""
    try:
        with docker_registry(tmp_path_factory.mktemp("registry"), htpasswd=True) as host:
            yield host
    except Unsupported as error:
        pytest.skip(str(error))


CASES = """\
login -u ann -p s3:cret REGISTRY
login REGISTRY
login -u ann -p s3:cret http://REGISTRY/v2/
login -u ann -p wrong REGISTRY
login -u ann -p x --password-stdin REGISTRY
login --password-stdin REGISTRY
login -u= -p x REGISTRY
login -u x -p= REGISTRY
login -u x REGISTRY
login --nope
logout https://REGISTRY/v1/
logout REGISTRY
logout
login REGISTRY
logout a b
"""


def test_login_and_logout_say_and_keep_what_dockers_do(
    docker: Engine, empty_swapbox: Sandbox, closed_registry: str, tmp_path: Path
) -> None:
    for line in CASES.replace("REGISTRY", closed_registry).splitlines():
        ours, theirs = (
            _outcome(engine, line.split(), tmp_path / name)
            for engine, name in ((empty_swapbox, "ours"), (docker, "theirs"))
        )
        assert ours == theirs, line


def _outcome(engine: Engine, words: list[str], folder: Path) -> tuple[int, str, list[str], str]:
    """Return exit code, output, errors and the configuration file, without what may differ."""
    result: Result = engine(*words, env={"DOCKER_CONFIG": str(folder)})
    said = result.err.replace(str(folder), "FOLDER").replace("Error response from daemon:", "Error:")
    said = said.replace("swapbox", "docker").replace("SRun", "Run").replace("[OPTIONS] [SERVER]", "[SERVER]")
    lines = [line for line in said.splitlines() if not line.startswith("hint:")]
    file = folder / "config.json"
    return result.code, result.out, lines, file.read_text() if file.exists() else ""


HELPER = """\
import json, os, sys
path = sys.argv[0] + ".kept"
kept = json.load(open(path)) if os.path.exists(path) else {}
word, text = sys.argv[1], sys.stdin.read()
if word == "store":
    kept[json.loads(text)["ServerURL"]] = json.loads(text)
elif word == "list":
    print(json.dumps({server: found["Username"] for server, found in kept.items()}))
elif text not in kept:
    print("credentials not found in native keychain")
    sys.exit(1)
elif word == "get":
    print(json.dumps(kept[text]))
else:
    del kept[text]
json.dump(kept, open(path, "w"))
"""


def test_a_helper_is_shared_with_docker(
    docker: Engine, empty_swapbox: Sandbox, closed_registry: str, tmp_path: Path
) -> None:
    program = tmp_path / "docker-credential-vault"
    program.write_text(f"#!{sys.executable} -IS\n{HELPER}")
    program.chmod(0o755)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"credHelpers": {closed_registry: "vault"}}))
    path = f"{tmp_path}:{docker.environment['PATH']}"
    here = {"DOCKER_CONFIG": str(tmp_path), "PATH": path}
    login = ("login", "-u", USER, "--password-stdin", closed_registry)
    image = f"{closed_registry}/nosuch"
    docker.ok(*login, stdin=PASSWORD.encode(), env=here)
    empty_swapbox("pull", image, env=here).fails(1, "manifest unknown")
    empty_swapbox.ok("logout", closed_registry, env=here)
    docker("pull", image, env=here).fails(1, "no basic auth credentials")
    empty_swapbox.ok(*login, stdin=PASSWORD.encode(), env=here)
    docker("pull", image, env=here).fails(1, "manifest unknown")
    words = {"_SWAPBOX_COMPLETE": "bash_complete", "COMP_WORDS": "swapbox logout 127", "COMP_CWORD": "2"}
    assert closed_registry in empty_swapbox(env={**here, **words}).out
    assert PASSWORD not in file.read_text()


def test_a_terminal_is_asked_for_what_is_missing_without_echo(
    empty_swapbox: Sandbox, closed_registry: str, tmp_path: Path
) -> None:
    environment = {**empty_swapbox.environment, "DOCKER_CONFIG": str(tmp_path)}
    program, *arguments = empty_swapbox.argv("login", closed_registry)
    child = pexpect.spawn(program, arguments, env=environment, encoding="utf-8", timeout=30)
    child.expect_exact("Username: ")
    child.sendline(USER)
    child.expect_exact("Password: ")
    child.sendline(PASSWORD)
    child.expect_exact("Login Succeeded")
    assert PASSWORD not in (child.before or "")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_log_in_lets_pull_in_and_a_log_out_does_not(
    empty_swapbox: Sandbox, closed_registry: str, tmp_path: Path
) -> None:
    here = {"DOCKER_CONFIG": str(tmp_path)}
    image = f"{closed_registry}/nosuch"
    empty_swapbox("pull", image, env=here).fails(1, "pull access denied", "swapbox login")
    login = ("login", "-u", USER, "--password-stdin", closed_registry)
    assert empty_swapbox.ok(*login, stdin=f"{PASSWORD}\n".encode(), env=here) == "Login Succeeded"
    empty_swapbox("pull", image, env=here).fails(1, "manifest unknown")
    empty_swapbox.ok("logout", closed_registry, env=here)
    empty_swapbox("pull", image, env=here).fails(1, "pull access denied")
    assert json.loads((tmp_path / "config.json").read_text()) == {"auths": {}}


def test_a_registry_behind_tls_and_tokens_is_pushed_to_and_pulled_from(
    empty_swapbox: Sandbox, busybox_ref: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    server = authority.sign("server")
    tls = f", tls: {{certificate: {server.certificate}, key: {server.key}}}"
    with TokenServer(tmp_path) as tokens, docker_registry(tmp_path, http=tls, more=tokens.settings) as host:
        tokens.users[USER] = PASSWORD
        (tmp_path / "certs.d" / host).mkdir(parents=True)
        authority.certificate.rename(tmp_path / "certs.d" / host / "ca.crt")
        config = tmp_path / "config.toml"
        config.write_text(f"[options.registry.hub]\ncertificates = '{tmp_path}/certs.d'\n")
        swapbox = Engine(*empty_swapbox.prefix, "--config", config, environment=empty_swapbox.environment)
        image = f"{host}/team/app:1"
        swapbox.ok("pull", busybox_ref)
        swapbox.ok("tag", busybox_ref, image)
        swapbox("push", image).fails(1, "authentication required", f"swapbox login {host}")
        swapbox.ok("login", "-u", USER, "--password-stdin", host, stdin=PASSWORD.encode())
        swapbox.ok("push", image)
        swapbox.ok("rmi", image, busybox_ref)
        swapbox.ok("logout", host)
        assert f"Downloaded newer image for {image}" in swapbox.ok("pull", image)
    assert any(bought.parameters.get("scope") == "repository:team/app:pull,push" for bought in tokens.bought)
