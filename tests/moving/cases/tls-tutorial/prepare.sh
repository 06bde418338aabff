# The commands of tutorials. Without extensions, the authority, the broker's certificate and that of `old` are of X.509 version 1.
cd broker/etc/mosquitto && mkdir certs && cd certs
# OpenSSL from 3.2 on makes them only if it is asked to.
if openssl req -help 2>&1 | grep -q x509v1; then
  sign() { openssl req -x509 -x509v1 -in "$1.csr" -days 30 -out "$1.crt" "${@:2}"; }
  self=(-key ca.key)
else
  sign() { openssl x509 -req -in "$1.csr" -days 30 -out "$1.crt" "${@:2}"; }
  self=(-signkey ca.key)
fi
openssl genrsa -out ca.key 2048
openssl req -new -key ca.key -out ca.csr -subj '/C=GB/O=Tutorial/CN=Tutorial CA'
sign ca "${self[@]}"
for name in server client reader old; do
  openssl genrsa -out "$name.key" 2048
  subject=$([ "$name" = server ] && echo localhost || echo "$name")
  openssl req -out "$name.csr" -key "$name.key" -new -subj "/C=GB/O=Tutorial/CN=$subject"
done
for name in server old; do
  sign "$name" -CA ca.crt -CAkey ca.key
done
for name in client reader; do
  openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$name.crt" \
    -extfile <(echo extendedKeyUsage=clientAuth)
done
