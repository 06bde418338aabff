#!/bin/sh
# Starts FlashMQ for the suite: flashmq.sh BINARY PORT WEBSOCKET_PORT DATA
set -eu
cat > "$4.conf" <<CONF
allow_anonymous true
# The standard allows every character in a Client Identifier.
allow_unsafe_clientid_chars true
# The default is 512 messages.
max_qos_msg_pending_per_client 65535
max_qos_bytes_pending_per_client 2000000000
storage_dir $4
# The standard allows strings of 65,535 bytes.
max_string_length 65535
# FlashMQ saves its state at its end and at intervals, of which 300 seconds is the shortest.
save_state_interval 300
log_level error
quiet true
listen {
  port $2
  protocol mqtt
  inet_protocol ip4
  inet4_bind_address 127.0.0.1
}
listen {
  port $3
  protocol websockets
  inet_protocol ip4
  inet4_bind_address 127.0.0.1
}
CONF
exec "$1" --config-file "$4.conf"
