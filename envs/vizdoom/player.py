"""How Doom's player moves, in map units and degrees: what a policy that walks there has to know."""

from __future__ import annotations

PLAYER_RADIUS = 15.0  # the player has 16, and slides along what it touches

# A step of this many tics walks 25 map units at full speed and turns by 14 degrees; both grow with the tics.
TICS = 4
FULL_SPEED = 25.0
BLOCKED = 4.0  # a step into a wall moves less, the first step from rest moves 7
SLIDING = 14.0  # a step at full speed that moves less goes along a wall
STOPPING = 20.0  # a step: what it takes to come to rest, with care
TURN_TOLERANCE = 10.0  # degrees: more than half a step of turning, so that it ends
