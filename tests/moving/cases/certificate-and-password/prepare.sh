# An authority, and the certificates of the broker and of a client, whose name is no user's.
cd broker/etc/mosquitto && mkdir certs && cd certs
openssl req -x509 -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
  -subj '/CN=Plant CA' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
issue() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
  openssl x509 -req -days 30 -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -out "$1.pem" \
    -extfile <(printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\nextendedKeyUsage=%s\n' "$2")
}
issue server serverAuth
issue machine clientAuth
