# A root, an intermediate and a certificate, as certbot lays them out: files with numbers, and links to them.
cd broker/etc && mkdir -p letsencrypt/archive/mqtt.example.org letsencrypt/live/mqtt.example.org
cd letsencrypt/archive/mqtt.example.org
key='ec -pkeyopt ec_paramgen_curve:P-256'
openssl req -x509 -days 30 -newkey $key -nodes -keyout root.key -out root.pem -subj '/CN=Root X1' \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
issue() {
  openssl req -new -newkey $key -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2"
  openssl x509 -req -days 30 -in "$1.csr" -CA "$3.pem" -CAkey "$3.key" -CAcreateserial -out "$1.pem" -extfile <(printf "$4")
}
issue R3 R3 root 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n'
issue cert1 mqtt.example.org R3 'subjectAltName=DNS:mqtt.example.org,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n'
mv R3.pem chain1.pem
mv cert1.key privkey1.pem
cat cert1.pem chain1.pem > fullchain1.pem
for file in cert chain fullchain privkey; do ln -s "../../archive/mqtt.example.org/${file}1.pem" "../../live/mqtt.example.org/$file.pem"; done
