// A webhook receiver on Go 1.19 or later, with nothing to install.
//
//	WEBHOOK_SECRET=whsec_… PORT=3000 go run .
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxBodyBytes  = 1 << 20
	maxRemembered = 100_000
	tolerance     = 5 * time.Minute
	headerPrefix  = "X-VantageKit"
)

// Verify tells whether a request is genuine and recent. The body is the raw body, the secret is
// the whole secret, whsec_ included.
func Verify(headers http.Header, body []byte, secret string, now time.Time, tolerance time.Duration, prefix string) bool {
	timestamp := headers.Get(prefix + "-Timestamp")
	seconds, err := strconv.ParseUint(timestamp, 10, 47) // digits only, no sign
	if err != nil {
		return false
	}
	age := now.Unix() - int64(seconds)
	if limit := int64(tolerance / time.Second); age > limit || age < -limit {
		return false
	}

	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	expected := mac.Sum(nil)
	// While the secret is being rotated, -Next holds the new secret's signature.
	for _, name := range []string{"-Signature", "-Signature-Next"} {
		value := headers.Get(prefix + name)
		if !strings.HasPrefix(value, "sha256=") {
			continue
		}
		signature, err := hex.DecodeString(strings.TrimPrefix(value, "sha256="))
		if err == nil && hmac.Equal(signature, expected) {
			return true
		}
	}
	return false
}

// Seen remembers the deliveries that were handled: each may arrive twice, under the same id. In
// production this is a unique column of your database, written in the same transaction as the
// work, so that it outlives a restart.
type Seen struct {
	mutex sync.Mutex
	ids   map[string]bool
	order []string
}

// IsNew tells whether the delivery was not seen before, and remembers it.
func (s *Seen) IsNew(id string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.ids[id] {
		return false
	}
	s.ids[id] = true
	s.order = append(s.order, id)
	if len(s.order) > maxRemembered {
		delete(s.ids, s.order[0])
		s.order = s.order[1:]
	}
	return true
}

// Event is what a delivery carries.
type Event struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// handle is your work. Slow work belongs into a durable queue, written before the answer.
func handle(event Event) {
	fmt.Printf("received %s\n", event.Type)
}

// Receiver answers deliveries signed with the secret.
func Receiver(secret string) http.Handler {
	seen := &Seen{ids: map[string]bool{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
		if err != nil {
			status := http.StatusInternalServerError // it will be sent again
			if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
				status = http.StatusRequestEntityTooLarge
			}
			w.WriteHeader(status)
			return
		}
		if !Verify(r.Header, body, secret, time.Now(), tolerance, headerPrefix) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var event Event // only now: what is parsed has been verified
		if err := json.Unmarshal(body, &event); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if seen.IsNew(r.Header.Get("X-VantageKit-Delivery")) {
			go handle(event)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func main() {
	secret := os.Getenv("WEBHOOK_SECRET")
	if secret == "" {
		log.Fatal("WEBHOOK_SECRET is not set: set it to the endpoint's secret, whsec_ included.")
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
	}
	server := &http.Server{
		Addr:              "127.0.0.1:" + port,
		Handler:           Receiver(secret),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
	}
	log.Printf("listening on port %s", port)
	log.Fatal(server.ListenAndServe())
}
