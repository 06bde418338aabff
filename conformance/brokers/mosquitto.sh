#!/bin/sh
# Starts mosquitto for the suite: mosquitto.sh PORT WEBSOCKET_PORT DATA
set -eu
cat > "$3.conf" <<CONF
allow_anonymous true
persistence true
persistence_location $3/
# mosquitto saves its state after every change, the strictest setting it has.
autosave_on_changes true
autosave_interval 1
log_type error
user root
listener $1 127.0.0.1
listener $2 127.0.0.1
protocol websockets
CONF
exec mosquitto -c "$3.conf"
