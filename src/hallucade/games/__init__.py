"""Simulators with a known state, and bots that play them."""

import gymnasium

# Registered by name and not imported: `import hallucade.games` stays cheap. A minute of play is one episode.
gymnasium.register("hallucade/Pong-v0", entry_point="hallucade.games.pong:Pong", max_episode_steps=1800)
gymnasium.register("hallucade/Maze-v0", entry_point="hallucade.games.maze:Maze", max_episode_steps=1800)
gymnasium.register("hallucade/Doom-v0", entry_point="hallucade.games.doom:Doom")
gymnasium.register("hallucade/Crafter-v0", entry_point="hallucade.games.crafter:Crafter")
gymnasium.register("hallucade/CarRacing-v0", entry_point="hallucade.games.car_racing:car_racing")
