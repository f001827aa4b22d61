// Many viewers of a room of Janus, on Pion, which decode nothing. Arguments: the address of Janus's WebSocket,
// the room, and how many viewers. Prints a line each second: how many viewers there are, how many of them got
// a frame in that second, how many frames all got together, and how many packets were lost.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v3"
	"golang.org/x/net/websocket"
)

type object = map[string]interface{}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// One session, over one WebSocket, for all viewers. Requests are made one after the other.
type session struct {
	socket *websocket.Conn
	id     json.Number
	sent   int
}

type message struct {
	Janus       string
	Transaction string
	Data        struct{ Id json.Number }
	Plugindata  struct {
		Data struct {
			Error        string
			Participants []struct {
				Id        json.Number
				Publisher bool
			}
		}
	}
	Jsep  webrtc.SessionDescription
	Error struct{ Reason string }
}

// The answer to a request: the acknowledgement of one that is answered later is none.
func (s *session) send(request object) message {
	s.sent++
	transaction := strconv.Itoa(s.sent)
	request["transaction"] = transaction
	if s.id != "" {
		request["session_id"] = s.id
	}
	check(websocket.JSON.Send(s.socket, request))
	for {
		var answer message
		check(websocket.JSON.Receive(s.socket, &answer))
		if answer.Transaction != transaction || answer.Janus == "ack" {
			continue
		}
		for _, reason := range []string{answer.Error.Reason, answer.Plugindata.Data.Error} {
			if reason != "" {
				fmt.Fprintln(os.Stderr, reason)
				os.Exit(1)
			}
		}
		return answer
	}
}

func (s *session) attach() json.Number {
	return s.send(object{"janus": "attach", "plugin": "janus.plugin.videoroom"}).Data.Id
}

// Waits until somebody publishes in the room.
func (s *session) publisher(room int) json.Number {
	lobby := s.attach()
	for {
		list := object{"request": "listparticipants", "room": room}
		answer := s.send(object{"janus": "message", "handle_id": lobby, "body": list})
		for _, participant := range answer.Plugindata.Data.Participants {
			if participant.Publisher {
				return participant.Id
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

type viewer struct {
	frames, lost int64
}

func (v *viewer) read(track *webrtc.TrackRemote) {
	var last uint16
	for first := true; ; first = false {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		if gap := int16(packet.SequenceNumber - last); !first && gap > 1 {
			atomic.AddInt64(&v.lost, int64(gap-1))
		}
		last = packet.SequenceNumber
		if packet.Marker {
			atomic.AddInt64(&v.frames, 1)
		}
	}
}

func (s *session) subscribe(room int, feed json.Number, to *viewer) {
	handle := s.attach()
	join := object{"request": "join", "ptype": "subscriber", "room": room, "streams": []object{{"feed": feed}}}
	offer := s.send(object{"janus": "message", "handle_id": handle, "body": join}).Jsep
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { to.read(track) })
	check(connection.SetRemoteDescription(offer))
	answer, err := connection.CreateAnswer(nil)
	check(err)
	gathered := webrtc.GatheringCompletePromise(connection)
	check(connection.SetLocalDescription(answer))
	<-gathered
	start := object{"request": "start"}
	s.send(object{"janus": "message", "handle_id": handle, "body": start, "jsep": connection.LocalDescription()})
}

func main() {
	room, err := strconv.Atoi(os.Args[2])
	check(err)
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	socket, err := websocket.Dial(os.Args[1], "janus-protocol", "http://127.0.0.1/")
	check(err)
	s := &session{socket: socket}
	s.id = s.send(object{"janus": "create"}).Data.Id
	feed := s.publisher(room)
	viewers := make([]viewer, count)
	joined := int64(0)
	go func() {
		before := make([]int64, count)
		for range time.Tick(time.Second) {
			watching, frames, lost := 0, int64(0), int64(0)
			for i := range viewers {
				now := atomic.LoadInt64(&viewers[i].frames)
				if now > before[i] {
					watching++
				}
				frames += now - before[i]
				lost += atomic.LoadInt64(&viewers[i].lost)
				before[i] = now
			}
			fmt.Println(atomic.LoadInt64(&joined), watching, frames, lost)
		}
	}()
	for i := range viewers {
		s.subscribe(room, feed, &viewers[i])
		atomic.AddInt64(&joined, 1)
	}
	for range time.Tick(20 * time.Second) {
		s.send(object{"janus": "keepalive"})
	}
}
