/* Drives MQTTClient of Eclipse Paho's C library; tests/python/agents/agent.py describes the protocol. */

#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(const char *what, int code) {
  if (code != MQTTCLIENT_SUCCESS) {
    fprintf(stderr, "%s: %d\n", what, code);
    exit(1);
  }
}

static int on_message(void *context, char *topic, int length, MQTTClient_message *message) {
  (void)context;
  (void)length;
  printf("message %s %d %d %.*s\n", topic, message->qos, message->retained, message->payloadlen, (char *)message->payload);
  MQTTClient_freeMessage(&message);
  MQTTClient_free(topic);
  return 1;
}

static const char *setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value ? value : otherwise;
}

static MQTTClient create(int version) {
  const char *scheme = getenv("WEBSOCKET") ? (getenv("BROKER_CA") ? "wss" : "ws") : (getenv("BROKER_CA") ? "ssl" : "tcp");
  MQTTClient_createOptions options = MQTTClient_createOptions_initializer;
  options.MQTTVersion = version;
  char uri[200];
  snprintf(uri, sizeof uri, "%s://%s:%s", scheme, setting("BROKER_HOST", "127.0.0.1"), setting("BROKER_PORT", "1883"));
  MQTTClient client;
  check("create", MQTTClient_createWithOptions(&client, uri, setting("CLIENT_ID", ""), MQTTCLIENT_PERSISTENCE_NONE, NULL, &options));
  check("callbacks", MQTTClient_setCallbacks(client, NULL, NULL, on_message, NULL));
  return client;
}

static void open_connection(MQTTClient client, int version) {
  MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
  MQTTClient_connectOptions options5 = MQTTClient_connectOptions_initializer5;
  MQTTClient_connectOptions ws_options = MQTTClient_connectOptions_initializer_ws;
  MQTTClient_connectOptions ws_options5 = MQTTClient_connectOptions_initializer5_ws;
  MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
  MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
  MQTTProperties properties = MQTTProperties_initializer;
  if (getenv("WEBSOCKET")) {
    options = version == MQTTVERSION_5 ? ws_options5 : ws_options;
  } else if (version == MQTTVERSION_5) {
    options = options5;
  }
  options.MQTTVersion = version;
  if (getenv("WILL_TOPIC")) {
    will.topicName = getenv("WILL_TOPIC");
    will.message = "gone";
    will.qos = 1;
    options.will = &will;
  }
  if (getenv("BROKER_CA")) {
    tls.trustStore = getenv("BROKER_CA");
    tls.verify = 1;
    options.ssl = &tls;
  }
  if (version != MQTTVERSION_5) {
    options.cleansession = !getenv("STORED_SESSION");
    check("connect", MQTTClient_connect(client, &options));
    return;
  }
  options.cleanstart = !getenv("STORED_SESSION");
  MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, .value.integer4 = 3600};
  if (getenv("STORED_SESSION")) {
    check("property", MQTTProperties_add(&properties, &expiry));
  }
  MQTTResponse response = MQTTClient_connect5(client, &options, &properties, NULL);
  check("connect", response.reasonCode);
  MQTTResponse_free(response);
}

static void subscribe(MQTTClient client, int version, const char *filter, int qos) {
  if (version == MQTTVERSION_5) {
    MQTTResponse response = MQTTClient_subscribe5(client, filter, qos, NULL, NULL);
    check("subscribe", response.reasonCode > 2 ? response.reasonCode : 0);
    MQTTResponse_free(response);
  } else {
    check("subscribe", MQTTClient_subscribe(client, filter, qos));
  }
  puts("subscribed");
}

static void publish(MQTTClient client, int version, char *topic, int qos, int retain, char *payload) {
  MQTTClient_message message = MQTTClient_message_initializer;
  MQTTClient_deliveryToken token;
  message.payload = payload;
  message.payloadlen = (int)strlen(payload);
  message.qos = qos;
  message.retained = retain;
  if (version == MQTTVERSION_5) {
    MQTTResponse response = MQTTClient_publishMessage5(client, topic, &message, &token);
    check("publish", response.reasonCode);
    MQTTResponse_free(response);
  } else {
    check("publish", MQTTClient_publishMessage(client, topic, &message, &token));
  }
  if (qos > 0) {
    check("acknowledgement", MQTTClient_waitForCompletion(client, token, 10000));
  }
  puts("published");
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  int version = atoi(setting("MQTT_VERSION", "4"));
  MQTTClient_init_options init = MQTTClient_init_options_initializer;
  init.do_openssl_init = 1;
  MQTTClient_global_init(&init);
  MQTTClient client = create(version);
  open_connection(client, version);
  puts("connected");
  static char line[100000];
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    char *name = strtok(line, " ");
    char *topic = strtok(NULL, " ");
    char *qos = strtok(NULL, " ");
    if (strcmp(name, "subscribe") == 0) {
      subscribe(client, version, topic, atoi(qos));
    } else if (strcmp(name, "publish") == 0) {
      int retain = atoi(strtok(NULL, " "));
      char *payload = strtok(NULL, "");
      publish(client, version, topic, atoi(qos), retain, payload ? payload : "");
    } else {
      check("disconnect", MQTTClient_disconnect(client, 1000));
      puts("disconnected");
      break;
    }
  }
  return 0;
}
