# An authority, the broker's certificate, those of two gateways, and one of another authority.
cd broker/etc/mosquitto && mkdir certs && cd certs
authority() {
  openssl req -x509 -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1-key.pem" -out "$1.pem" \
    -subj "/CN=$1" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}
issue() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1-key.pem" -out "$1.csr" -subj "/CN=$2"
  openssl x509 -req -days 30 -in "$1.csr" -CA "$3.pem" -CAkey "$3-key.pem" -CAcreateserial -out "$1.pem" \
    -extfile <(printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\nextendedKeyUsage=%s\n' "$4")
}
authority ca
authority other
issue mqtt-server localhost ca serverAuth
issue gateway-a 00800000a00009ef ca clientAuth
issue gateway-b 00800000a00009f0 ca clientAuth
issue stranger 00800000a00009ef other clientAuth
