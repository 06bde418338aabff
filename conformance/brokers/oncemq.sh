#!/bin/sh
# Starts OnceMQ for the suite: oncemq.sh BINARY PORT WEBSOCKET_PORT DATA [SETTING OF THE LISTENERS]
set -eu
cat > "$4.toml" <<TOML
[server]
data = "$4"
[log]
level = "error"
[admin]
enabled = false
# Many cases connect concurrently from one address.
[limits]
connections_per_address_max = 100000
connections_per_second_max = 100000
[[listeners]]
address = "127.0.0.1:$2"
${5-}
[[listeners]]
address = "127.0.0.1:$3"
transport = "ws"
${5-}
TOML
exec "$1" --config "$4.toml"
