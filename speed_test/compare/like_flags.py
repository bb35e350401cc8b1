"""The options of compare_results.py on how long a person's own work would take, and which cannot stand together."""

from argparse import ArgumentParser, Namespace

from speed_test.arguments import prices, whole_number

OF_LIKE = ("samples", "epochs", "tokens", "price", "rent")
NOT_WITH_LIKE = ("baseline", "html", "check")


def add(parser: ArgumentParser) -> None:
    """Add the options on how long a person's own work would take."""
    parser.add_argument(
        "--like",
        metavar="TEST",
        help="print only how long work that is like this test (such as pytorch_imdb) takes each machine",
    )
    parser.add_argument(
        "--samples",
        type=whole_number(1, 1_000_000_000_000),
        metavar="N",
        help="of --like: how many samples an epoch of the work has (default: as many as the test)",
    )
    parser.add_argument(
        "--epochs", type=whole_number(1, 1_000_000), metavar="N", help="of --like: how many epochs (default: 1)"
    )
    parser.add_argument(
        "--tokens",
        type=whole_number(1, 1_000_000_000_000),
        metavar="N",
        help="of --like=llama2: how many tokens to generate (default: 1,000,000)",
    )
    parser.add_argument(
        "--price",
        type=prices,
        default=(),
        metavar='"MACHINE=NUMBER, ..."',
        help="of --like: what machines cost, for their speed for the money; MACHINE as for --baseline",
    )
    parser.add_argument(
        "--rent",
        type=prices,
        default=(),
        metavar='"MACHINE=NUMBER, ..."',
        help="of --like: what an hour of machines costs, for what the work costs there, and with --price for how often "
        "it is done before buying is cheaper",
    )


def check(parser: ArgumentParser, options: Namespace) -> None:
    """End with exit status 2 if one of them stands without --like, or --like beside what it does not go with."""
    for name in OF_LIKE if options.like is None else NOT_WITH_LIKE:
        if getattr(options, name) and options.like is None:
            parser.error(f"--{name} goes only with --like=TEST; add it")
        if getattr(options, name):
            parser.error(f"--{name} does not go with --like; leave one out")
