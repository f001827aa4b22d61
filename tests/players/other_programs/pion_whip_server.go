// A WHIP endpoint on Pion, at /whip. It decodes nothing, asks for a key frame every so often, and prints a line
// a second for each publisher: its number, frames, key frames and packets of that second, packets lost so far.
// Other lines: "listening PORT", then "POST STATUS" and "DELETE STATUS".
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v3"
)

var (
	address = flag.String("address", "127.0.0.1:0", "where to listen")
	token   = flag.String("token", "", "the token that a publisher needs")
	lite    = flag.Bool("lite", false, "ICE-lite, as servers with a public address have it")
	passive = flag.Bool("passive", false, "passive in DTLS")
	pli     = flag.Duration("pli", 2*time.Second, "how often to ask for a key frame")
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type endpoint struct {
	api      *webrtc.API
	lock     sync.Mutex
	sessions map[string]*webrtc.PeerConnection
	count    int
}

func newAPI() *webrtc.API {
	settings := webrtc.SettingEngine{}
	settings.SetLite(*lite)
	if *passive {
		check(settings.SetAnsweringDTLSRole(webrtc.DTLSRoleServer))
	}
	media := &webrtc.MediaEngine{}
	check(media.RegisterDefaultCodecs())
	registry := &interceptor.Registry{}
	check(webrtc.RegisterDefaultInterceptors(media, registry))
	return webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(registry))
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, body string) {
		fmt.Println(r.Method, status)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
	e.lock.Lock()
	defer e.lock.Unlock()
	session := e.sessions[r.URL.Path]
	switch {
	case *token != "" && r.Header.Get("Authorization") != "Bearer "+*token:
		w.Header().Set("WWW-Authenticate", "Bearer")
		answer(http.StatusUnauthorized, "")
	case r.Method == http.MethodPost && r.URL.Path == "/whip":
		offer, err := io.ReadAll(r.Body)
		check(err)
		e.count++
		path := fmt.Sprintf("/whip/%d", e.count)
		connection, err := e.take(string(offer), e.count)
		if err != nil {
			answer(http.StatusUnprocessableEntity, err.Error())
			return
		}
		e.sessions[path] = connection
		w.Header().Set("Content-Type", "application/sdp")
		// Absolute, as the others' are relative.
		w.Header().Set("Location", "http://"+r.Host+path)
		answer(http.StatusCreated, connection.LocalDescription().SDP)
	case r.Method == http.MethodDelete && session != nil:
		delete(e.sessions, r.URL.Path)
		check(session.Close())
		answer(http.StatusOK, "")
	default:
		answer(http.StatusNotFound, "")
	}
}

func (e *endpoint) take(offer string, number int) (*webrtc.PeerConnection, error) {
	connection, err := e.api.NewPeerConnection(webrtc.Configuration{})
	check(err)
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		go func() {
			request := &rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}
			for connection.WriteRTCP([]rtcp.Packet{request}) == nil {
				time.Sleep(*pli)
			}
		}()
		receive(track, number)
	})
	err = connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer})
	if err != nil {
		return nil, err
	}
	description, err := connection.CreateAnswer(nil)
	if err != nil {
		return nil, err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	check(connection.SetLocalDescription(description))
	<-gathered
	return connection, nil
}

func receive(track *webrtc.TrackRemote, number int) {
	frames, keyFrames, packets, lost := 0, 0, 0, 0
	var last uint16
	var lastKey uint32
	started := false
	second := time.Now()
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			fmt.Println("closed", number)
			return
		}
		switch ahead := int16(packet.SequenceNumber - last); {
		case !started || ahead > 0:
			if started {
				lost += int(ahead) - 1
			}
			last, started = packet.SequenceNumber, true
		default:
			// It was late, and has been counted as lost.
			lost--
		}
		packets++
		if packet.Marker {
			frames++
		}
		if beginsKeyFrame(packet) && packet.Timestamp != lastKey {
			lastKey = packet.Timestamp
			keyFrames++
		}
		if time.Since(second) >= time.Second {
			fmt.Println(number, frames, keyFrames, packets, lost)
			frames, keyFrames, packets = 0, 0, 0
			second = second.Add(time.Second)
		}
	}
}

// Whether there are parameter sets or a part of an IDR picture in a packet of H.264 (RFC 6184).
func beginsKeyFrame(packet *rtp.Packet) bool {
	payload := packet.Payload
	if len(payload) < 4 {
		return false
	}
	isKey := func(octet byte) bool { return octet&31 == 5 || octet&31 == 7 }
	switch payload[0] & 31 {
	case 24:
		return isKey(payload[3])
	case 28:
		return isKey(payload[1])
	default:
		return isKey(payload[0])
	}
}

func main() {
	flag.Parse()
	listener, err := net.Listen("tcp", *address)
	check(err)
	_, port, _ := strings.Cut(listener.Addr().String(), ":")
	fmt.Println("listening", port)
	e := &endpoint{api: newAPI(), sessions: map[string]*webrtc.PeerConnection{}}
	check(http.Serve(listener, e))
}
