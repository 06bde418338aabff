#!/bin/sh
# Starts rumqttd for the suite: rumqttd.sh BINARY VERSION PORT DATA. It serves each version, v4 (3.1.1) or v5, at a port of
# its own, so the suite runs once for each.
set -eu
cat > "$4.toml" <<CONF
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
next_connection_delay_ms = 0
[$2.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
CONF
exec "$1" --config "$4.toml" --quiet
