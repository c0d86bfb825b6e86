"""Simulators with a known state, and bots that play them."""

import gymnasium

# Registered by name and not imported: `import hallucade.games` stays cheap. A minute of play is one episode.
gymnasium.register("hallucade/Pong-v0", entry_point="hallucade.games.pong:Pong", max_episode_steps=1800)
