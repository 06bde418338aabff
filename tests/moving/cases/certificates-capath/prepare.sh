# An authority in a directory with the links of its hash, three certificates, and a list that revokes one of them.
cd broker/etc/mosquitto && mkdir -p certs ca_certificates && cd certs
openssl req -x509 -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
  -subj '/O=Example/CN=Example CA' -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
issue() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/O=Example/CN=$1"
  openssl x509 -req -days 30 -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -out "$1.pem" \
    -extfile <(printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\nextendedKeyUsage=%s\n' "$2")
}
issue server serverAuth
issue lamp clientAuth
issue lost clientAuth
touch index
echo 01 > number
printf '[ca]\ndefault_ca = d\n[d]\ndatabase = index\ncrlnumber = number\ndefault_md = sha256\ndefault_crl_days = 30\n' > ca.cnf
openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke lost.pem
openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -out ca.crl
cp ca.pem "../ca_certificates/$(openssl x509 -in ca.pem -noout -hash).0"
