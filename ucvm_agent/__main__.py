"""`python -m ucvm_agent` is `ucvm-agent`."""

from ucvm_agent.cli.main import main

main()
