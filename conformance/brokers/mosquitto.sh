#!/bin/sh
# Starts mosquitto for the suite: mosquitto.sh BINARY PORT WEBSOCKET_PORT DATA
set -eu
cat > "$4.conf" <<CONF
allow_anonymous true
persistence true
persistence_location $4/
# mosquitto saves its state after every change, the strictest setting it has.
autosave_on_changes true
autosave_interval 1
log_type error
user root
listener $2 127.0.0.1
listener $3 127.0.0.1
protocol websockets
CONF
exec "$1" -c "$4.conf"
