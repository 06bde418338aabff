#!/bin/sh
# Starts mosquitto for the suite: mosquitto.sh PORT WEBSOCKET_PORT DATA
set -eu
cat > "$3.conf" <<CONF
allow_anonymous true
persistence true
persistence_location $3/
# What is acknowledged is written down as soon as mosquitto can be told to.
autosave_on_changes true
autosave_interval 1
log_type error
user root
listener $1 127.0.0.1
listener $2 127.0.0.1
protocol websockets
CONF
exec mosquitto -c "$3.conf"
