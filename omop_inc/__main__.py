"""`python -m omop_inc` is `omop-inc`."""

from omop_inc.process import prepare_process


def main() -> None:
    """Run the command line."""
    prepare_process()
    from omop_inc.cli import main as run  # imports all the rest, under the settings made before

    run()


if __name__ == "__main__":
    main()
