// A WHEP viewer on Pion, the WebRTC library of go2rtc and MediaMTX. Arguments: the URL, and how many
// frames to wait for. It sends one complete offer, with the user and password of the URL, as go2rtc
// does, and prints how many frames, packets and lost packets it saw.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pion/webrtc/v3"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	url := os.Args[1]
	wanted, err := strconv.Atoi(os.Args[2])
	check(err)
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		_, err = connection.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{
			Direction: webrtc.RTPTransceiverDirectionRecvonly,
		})
		check(err)
	}
	done := make(chan string)
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		frames, packets, lost := 0, 0, 0
		var last uint16
		for frames < wanted {
			packet, _, err := track.ReadRTP()
			check(err)
			if packets > 0 {
				lost += int(packet.SequenceNumber - last - 1)
			}
			last = packet.SequenceNumber
			packets++
			if packet.Marker {
				frames++
			}
		}
		done <- fmt.Sprintf("%s: %d frames, %d packets, %d lost", track.Codec().MimeType, frames, packets, lost)
	})
	offer, err := connection.CreateOffer(nil)
	check(err)
	gathered := webrtc.GatheringCompletePromise(connection)
	check(connection.SetLocalDescription(offer))
	<-gathered
	response, err := http.Post(url, "application/sdp", strings.NewReader(connection.LocalDescription().SDP))
	check(err)
	answer, err := io.ReadAll(response.Body)
	check(err)
	check(connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(answer)}))
	select {
	case seen := <-done:
		fmt.Println(seen)
	case <-time.After(20 * time.Second):
		fmt.Fprintln(os.Stderr, "no frames")
		os.Exit(1)
	}
	check(connection.Close())
}
