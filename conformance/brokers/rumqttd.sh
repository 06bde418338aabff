#!/bin/sh
# Starts rumqttd for the suite: rumqttd.sh BINARY VERSION PORT DATA [WEBSOCKET]. It serves each version, v4 (3.1.1) or v5, at a port of
# its own, so the suite runs once for each. Its WebSockets are for 3.1.1.
set -eu
settings() {
  cat <<CONF
next_connection_delay_ms = 0
[$1.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
CONF
}
{
  cat <<CONF
id = 0
[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[$2.1]
name = "$2"
listen = "127.0.0.1:$3"
CONF
  settings "$2"
  if [ $# -ge 5 ]; then
    printf '[ws.1]\nname = "ws"\nlisten = "127.0.0.1:%s"\n' "$5"
    settings ws
  fi
} > "$4.toml"
exec "$1" --config "$4.toml" --quiet
