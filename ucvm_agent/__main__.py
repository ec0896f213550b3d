"""`python -m ucvm_agent` is `ucvm-agent`."""

from ucvm_agent.cli import main

main()
