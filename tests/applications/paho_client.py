"""Eclipse Paho: publishes with QoS 1 what it has subscribed to itself."""

import sys
import threading
import time

import paho.mqtt.client as mqtt

host, port, every, protocol = "127.0.0.1", int(sys.argv[1]), int(sys.argv[2]) / 1000, sys.argv[3]
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id="numbers",
    transport="websockets",
    protocol=mqtt.MQTTv5 if protocol == "5" else mqtt.MQTTv311,
    **({} if protocol == "5" else {"clean_session": True}),
)
client.ws_set_options(path="/mqtt")
said = threading.Lock()


def say(text: str) -> None:
    with said:
        print(text, flush=True)


def on_connect(client, userdata, flags, reason, properties):
    if reason.is_failure:
        say(f"error {reason}")
        return
    say("open")
    client.subscribe("numbers", qos=1)


client.on_connect = on_connect
client.on_subscribe = lambda *_: subscribed.set()
client.on_message = lambda client, userdata, message: say(f"got {int(message.payload)}")
subscribed = threading.Event()
client.connect(host, port)
client.loop_start()
subscribed.wait()
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
number = 0
while not ended.is_set():
    number += 1
    say(f"sent {number}")
    client.publish("numbers", str(number), qos=1)
    time.sleep(every)
threading.Event().wait()
