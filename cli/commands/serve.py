"""`serve`: everything that makes the service, as children of this process."""

from __future__ import annotations

from importlib import import_module

import click

from cli.options import pass_door
from cli.state import Door


@click.command("serve")
@click.option("--web-only", is_flag=True, help="Only the web application; workers and scheduler run elsewhere.")
@click.option("--setup", is_flag=True, help="Only make what a first start makes, say how to sign in, and end.")
@pass_door
def command(door: Door, web_only: bool, setup: bool) -> int:
    """Start the service: web, three workers, the scheduler, and a Redis where REDIS_URL names none.

    The first start makes what is missing (secrets, database, the account admin, a configuration that protects Holdfast
    itself) and prints once how to sign in; where the parts run apart, --setup does that alone. Ctrl-C or SIGTERM
    stops everything in order.
    """
    settings = door.settings
    # Started by name: the command line itself knows nothing of pages and API.
    serve = import_module("webapp.serve")
    if web_only and not setup:
        serve.web(settings)
        return 0
    from webapp import first_start
    from webapp.services import tick

    serve.require_usable(settings, alone=setup)
    installation = door.installation
    for text in first_start.prepare(installation):
        door.tell(text)
    if setup:
        return 0

    # What waits since the last stop starts now; the parent keeps no connection that a child could inherit.
    def ready() -> None:
        tick.send_waiting(installation, patience=0)
        installation.close()

    code: int = serve.everything(settings, tell=door.tell, ready=ready)
    return code
