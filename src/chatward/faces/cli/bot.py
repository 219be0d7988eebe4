"""`chatward bot`: moderation where people talk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chatward.faces.cli.options import AgreementOption, ModelOption, PrecisionOption, ThreadsOption, needs

if TYPE_CHECKING:
    from chatward.faces.bots.adapter import Adapter

bot_cli = typer.Typer(
    name="bot",
    help="Moderate a chat by a policy, with a record. Nothing is done to anybody before you say --act.",
    no_args_is_help=True,
)

PolicyOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE", help="What decides: streamer, community, strict, or a file of one's own."
    ),
]
RaidPolicyOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE|none",
        help="What decides while many newcomers write at once; none for the same as ever.",
    ),
]
RaidMessagesOption = Annotated[
    int,
    typer.Option(
        help="Messages of newcomers, within --raid-seconds, that are taken for a raid.", min=2, max=10_000
    ),
]
RaidSecondsOption = Annotated[
    float, typer.Option(help="Seconds in which so many make a raid.", min=0.1, max=3600)
]
RaidCalmOption = Annotated[
    float, typer.Option(help="Seconds after which a raid that doesn't go on is over.", min=0.1, max=86400)
]
ActOption = Annotated[
    bool,
    typer.Option(
        "--act", help="Carry out what is decided. Left out, it is decided and recorded only, as a rehearsal."
    ),
]
LedgerOption = Annotated[
    str,
    typer.Option(
        metavar="FILE|URL",
        help="Where decisions are recorded: an SQLite file, or postgresql://USER@HOST/DATABASE.",
        envvar="CHATWARD_LEDGER",
        show_envvar=True,
    ),
]
SecretOption = Annotated[
    Path | None,
    typer.Option(help="File of the secret by which senders are hashed; beside the record if left out."),
]
NoTextOption = Annotated[
    bool, typer.Option("--no-text", help="Record no message's text; who reviews sees scores only.")
]
RetentionOption = Annotated[
    int, typer.Option(help="Days after which records are forgotten; 0 for never.", min=0)
]
MetricsOption = Annotated[
    int | None,
    typer.Option(
        help="Port on loopback where Prometheus may ask for /metrics; none if left out.", min=1, max=65535
    ),
]
TokenFileOption = Annotated[
    Path | None, typer.Option(help="File of the bot's token, which nobody else may read (chmod 600).")
]
ApiOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Another address of the platform's API, for tests.", hidden=True),
]
_LEDGER = "chatward-bot.db"


@bot_cli.command()
def twitch(
    channel: Annotated[
        list[str], typer.Option(help="Channel to moderate, as in its address; give the option once for each.")
    ],
    token_file: TokenFileOption = None,
    policy: PolicyOption = "streamer",
    act: ActOption = False,
    raid_policy: RaidPolicyOption = "strict",
    raid_messages: RaidMessagesOption = 16,
    raid_seconds: RaidSecondsOption = 16.0,
    raid_calm: RaidCalmOption = 120.0,
    ledger: LedgerOption = _LEDGER,
    secret: SecretOption = None,
    no_text: NoTextOption = False,
    retention_days: RetentionOption = 90,
    metrics_port: MetricsOption = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    agreement: AgreementOption = 1.0,
    precision: PrecisionOption = None,
    irc: Annotated[str | None, typer.Option(metavar="URL", hidden=True)] = None,
    api: ApiOption = None,
    auth: Annotated[str | None, typer.Option(metavar="URL", hidden=True)] = None,
) -> None:
    """Moderate Twitch channels. The token comes from --token-file, or from TWITCH_TOKEN (docs/twitch.md)."""
    with needs("bots", "`chatward bot twitch`"):
        from chatward.faces.bots.starting import Options, start
        from chatward.faces.bots.twitch.adapter import twitch_from

    def adapter() -> Adapter:
        return twitch_from(channel, token_file, irc=irc, api=api, auth=auth)

    start(
        adapter,
        Options(
            policy=policy,
            act=act,
            raid_policy=None if raid_policy == "none" else raid_policy,
            raid_messages=raid_messages,
            raid_seconds=raid_seconds,
            raid_calm=raid_calm,
            ledger=ledger,
            secret=secret,
            keep_text=not no_text,
            retention_days=retention_days or None,
            metrics_port=metrics_port,
            model=model,
            threads=threads,
            agreement=agreement,
            precision=precision,
        ),
    )


@bot_cli.command()
def discord(
    token_file: TokenFileOption = None,
    review_channel: Annotated[
        int | None,
        typer.Option(
            help="Number of the channel that held messages are shown to moderators in; none if left out."
        ),
    ] = None,
    policy: PolicyOption = "community",
    act: ActOption = False,
    raid_policy: RaidPolicyOption = "strict",
    raid_messages: RaidMessagesOption = 16,
    raid_seconds: RaidSecondsOption = 16.0,
    raid_calm: RaidCalmOption = 120.0,
    ledger: LedgerOption = _LEDGER,
    secret: SecretOption = None,
    no_text: NoTextOption = False,
    retention_days: RetentionOption = 90,
    metrics_port: MetricsOption = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    agreement: AgreementOption = 1.0,
    precision: PrecisionOption = None,
    api: ApiOption = None,
) -> None:
    """Moderate the Discord servers that a bot was invited to. The token comes from --token-file, or from DISCORD_TOKEN (docs/discord.md)."""
    with needs("bots", "`chatward bot discord`"):
        from chatward.faces.bots.discord.adapter import discord_from
        from chatward.faces.bots.starting import Options, start

    def adapter() -> Adapter:
        return discord_from(token_file, review_channel=review_channel, api=api)

    start(
        adapter,
        Options(
            policy=policy,
            act=act,
            raid_policy=None if raid_policy == "none" else raid_policy,
            raid_messages=raid_messages,
            raid_seconds=raid_seconds,
            raid_calm=raid_calm,
            ledger=ledger,
            secret=secret,
            keep_text=not no_text,
            retention_days=retention_days or None,
            metrics_port=metrics_port,
            model=model,
            threads=threads,
            agreement=agreement,
            precision=precision,
        ),
    )
