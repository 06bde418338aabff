# The cloud's authority, its server and the certificate that it gave to the gateway.
mkdir -p broker/etc/mosquitto/certs remote/etc/mosquitto/certs
cd remote/etc/mosquitto/certs
openssl req -x509 -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out root-ca.pem \
  -subj '/CN=Root CA 1' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
issue() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1"
  openssl x509 -req -days 30 -in "$1.csr" -CA root-ca.pem -CAkey ca.key -CAcreateserial -out "$1.pem" \
    -extfile <(printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\nextendedKeyUsage=%s\n' "$2")
}
issue server serverAuth
issue gateway clientAuth
to=../../../../broker/etc/mosquitto/certs
cp root-ca.pem "$to/root-ca.pem"
cp gateway.pem "$to/certificate.pem.crt"
cp gateway.key "$to/private.pem.key"
