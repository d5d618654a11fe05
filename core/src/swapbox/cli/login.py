"""``login`` and ``logout``, word for word as docker/cli has them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import click

from swapbox.cli.app import ClientError, driver_options, engine_of, print_error
from swapbox.errors import InvalidInput, PermissionDenied, SwapboxError, Unavailable, Unsupported
from swapbox.images.registries import is_offline
from swapbox.references import DEFAULT_HOST, HUB_HOSTS, is_host

if TYPE_CHECKING:
    from swapbox.drivers.registry import LoginDriver
    from swapbox.engine import Engine

_HUB_ADDRESS = "https://index.docker.io/v1/"
_REGISTER = (
    "Log in with your Docker ID or email address to push and pull images from Docker Hub. If you don't have a"
    " Docker ID, head over to https://hub.docker.com/ to create one."
)
_TOKENS = (
    "You can log in with your password or a Personal Access Token (PAT). Using a limited-scope PAT grants better"
    " security and is required for organizations using SSO. Learn more at https://docs.docker.com/go/access-tokens/\n"
)


@click.command(epilog="Example: swapbox login -u ann --password-stdin ghcr.io < token.txt")
@click.option("-u", "--username", help="Username.")
@click.option("-p", "--password", help="Password or Personal Access Token (PAT).")
@click.option(
    "--password-stdin", is_flag=True, help="Take the Password or Personal Access Token (PAT) from stdin."
)
@driver_options("registry")
@click.argument("server", required=False)
@click.pass_context
def login(
    ctx: click.Context,
    server: str | None,
    *,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    registry: str | None,
) -> None:
    """Authenticate to a registry.

    Defaults to Docker Hub if no server is specified.
    """
    _check_flags(username, password, password_stdin=password_stdin)
    host = _host(server)
    if password_stdin:
        password = _secret_from_stdin()
    engine = engine_of(ctx)
    driver = login_driver(engine, registry)
    if is_offline(engine):
        raise Unavailable(f"cannot log in to {host}: swapbox is offline")
    default = ""
    if not username and not password:
        kept = driver.kept(host)
        if all(kept) and _log_in_again(driver, host, *kept):
            return
        default = kept[0]
    if not (username and password) and not sys.stdin.isatty():
        raise ClientError("Error: Cannot perform an interactive login from a non TTY device")
    username = username.strip() if username else _ask_username(host, default)
    _log_in(driver, host, username, password or _ask_password())


def _check_flags(username: str | None, password: str | None, *, password_stdin: bool) -> None:
    if password_stdin and password is not None:
        raise ClientError("conflicting options: cannot specify both --password and --password-stdin")
    if password_stdin and username is None:
        raise ClientError("the --password-stdin option requires --username to be set")
    for name, value in (("username", username), ("password", password)):
        if value == "":
            raise ClientError(f"{name} is empty")
    if password:
        click.echo("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", err=True)


def _secret_from_stdin() -> str:
    """Read all of stdin without the end of its last line."""
    text = sys.stdin.buffer.read().decode(errors="surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")


def _log_in_again(driver: LoginDriver, host: str, username: str, password: str) -> bool:
    """Log in with what is kept; say whether that went well, and if not, why."""
    click.echo(f"Authenticating with existing credentials... [Username: {username}]\n", err=True)
    note = "To login with a different account, run 'swapbox logout' followed by 'swapbox login'"
    click.echo(f" Info -> {note}\n\n", err=True)
    try:
        _log_in(driver, host, username, password)
    except PermissionDenied:
        click.echo("Stored credentials invalid or expired", err=True)
    except SwapboxError as error:
        print_error(error, prefix="Login did not succeed, error: ")
    else:
        return True
    return False


def _log_in(driver: LoginDriver, host: str, username: str, password: str) -> None:
    warning = driver.log_in(host, username=username, password=password)
    if warning:
        click.echo(f"\nWARNING! {warning}\n", err=True)
    click.echo("Login Succeeded")


def _ask_username(host: str, default: str) -> str:
    if host == DEFAULT_HOST:
        click.echo(f"{_REGISTER}\n{_TOKENS}")
    click.echo(f"Username ({default}): " if default else "Username: ", nl=False)
    username = sys.stdin.readline().strip() or default
    if not username:
        raise ClientError("error: username is required")
    return username


def _ask_password() -> str:
    from getpass import getpass

    try:
        password = getpass("Password: ")
    except EOFError:
        password = ""
    if not password:
        raise ClientError("error: password is required")
    return password


@click.command(epilog="Example: swapbox logout ghcr.io")
@driver_options("registry")
@click.argument("server", required=False)
@click.pass_context
def logout(ctx: click.Context, server: str | None, *, registry: str | None) -> None:
    """Log out from a registry.

    Defaults to Docker Hub if no server is specified.
    """
    host = _host(server)
    driver = login_driver(engine_of(ctx), registry)
    click.echo(f"Removing login credentials for {_HUB_ADDRESS if host == DEFAULT_HOST else host}")
    try:
        driver.log_out(host)
    except SwapboxError as error:
        click.echo("WARNING: could not erase credentials:", err=True)
        print_error(error, prefix=f"{host}: ")


def login_driver(engine: Engine, name: str | None) -> LoginDriver:
    """Return the registry driver, by its name or the default one.

    :raises Unsupported: it keeps no log-ins.
    """
    choice = engine.selector.choose("registry", name=name)
    if "login" not in choice.offer.spec.capabilities:
        raise Unsupported(
            f"registry driver {choice.name!r} keeps no log-ins", hint="choose another with --registry"
        )
    return cast("LoginDriver", engine.selector.open_choice(choice))


def _host(server: str | None) -> str:
    """Return the host that references have; docker/cli makes it of an address in the same way.

    :raises InvalidInput: it has none.
    """
    if not server:
        return DEFAULT_HOST
    rest = server.partition("://")[2] or server
    host = rest.partition("/")[0].rpartition("@")[2]
    if not is_host(host):
        raise InvalidInput(f"invalid registry {server!r}", hint="write its host: registry.example:5000")
    return DEFAULT_HOST if host in HUB_HOSTS else host
