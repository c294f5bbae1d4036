"""One harness: ``harness.py NAME [--plant FAULT] [arguments of libFuzzer]``; ``harness.py --list`` names them all."""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVER = "server"
REASSEMBLY = "reassembly"


def seeds(name: str) -> list[bytes]:
    """The vectors that speak to this harness; for conversations, put together to some."""
    from conversation import PREFIX
    from reassembly import SEEDS
    from targets import DECODERS

    if name == REASSEMBLY:
        return list(SEEDS)
    vectors = json.loads((ROOT / "tests" / "vectors" / "vectors.json").read_text(encoding="utf-8"))
    octets = {vector["id"]: bytes.fromhex(vector["hex"]) for vector in vectors}
    if name != SERVER:
        return [data for key, data in octets.items() if key.startswith(DECODERS[name].seeds)]
    wrapped = octets["TG-10"]
    openings = {
        b"": ("T4-", "T4A-", "T5N-"),
        b"\x05\x01\x00": ("T5R-",),
        b"\x05\x01\x02" + octets["TA-01"]: ("T5R-",),
        b"\x05\x01\x01" + octets["TG-01"] + octets["TG-05"]: ("TG-",),
        b"\x05\x01\x01" + octets["TG-05"] + wrapped[:9]: ("TG-",),
        b"\x05\x01\x80": ("TG-",),
    }
    # Options: with and without the end of the stream, a flood, a time limit; decisions that mostly agree.
    prefixes = (bytes(PREFIX), b"\x04\x01\x02\x09", b"\x08\x05\x00\x03", b"\x02\x00\x03\x07")
    return [
        prefixes[number % len(prefixes)] + opening + data + b"early"
        for opening, wanted in openings.items()
        for number, data in enumerate(data for key, data in octets.items() if key.startswith(wanted))
    ]


def check_for(name: str, plant: str | None) -> Callable[[bytes], None]:
    """What the harness does with an input."""
    from conversation import check_conversation
    from oracle import check_decoder
    from plants import PLAYS, plant_in_decoder, plant_in_play
    from reassembly import check_reassembly
    from targets import DECODERS

    if name in PLAYS:
        if plant is not None:
            plant_in_play(name, plant)
        return {SERVER: check_conversation, REASSEMBLY: check_reassembly}[name]
    target = DECODERS[name]
    return partial(check_decoder, target if plant is None else plant_in_decoder(target, plant))


def names() -> dict[str, tuple[str, ...]]:
    """All harnesses and their plants."""
    from plants import PLAYS, plants_of
    from targets import DECODERS

    plays = {name: tuple(plants) for name, plants in PLAYS.items()}
    return {**plays, **{name: plants_of(target) for name, target in DECODERS.items()}}


def main(arguments: list[str]) -> None:
    if arguments == ["--list"]:
        print("\n".join(f"{name} {' '.join(plants)}" for name, plants in names().items()))
        return
    import atheris

    name, plant, rest = arguments[0], None, arguments[1:]
    if rest[:1] == ["--plant"]:
        plant, rest = rest[1], rest[2:]
    with atheris.instrument_imports(include=["hosier.protocol", "hosier.testing", "plants"]):
        check = check_for(name, plant)
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(name)):
            Path(corpus, f"seed-{number:03}").write_bytes(data)
        files = any(not argument.startswith("-") for argument in rest)
        atheris.Setup([sys.argv[0], *rest, *([] if files else [corpus])], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
