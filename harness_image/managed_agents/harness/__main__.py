"""`python -m managed_agents.harness`: the harness container's process."""

from managed_agents.harness.respawner import main

if __name__ == "__main__":
    main()
