package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"
)

// Checks Verify with the vectors that every language shares: go test -count=1 -v .
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("../../../crates/signature/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		HeaderPrefix     string
		ToleranceSeconds int64
		Verify           []struct {
			Name, Scheme, Secret, Body string
			Headers                    map[string]string
			Now                        int64
			Valid                      bool
			HeaderPrefix               *string
			ToleranceSeconds           *int64
		}
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	passed, failed := 0, 0
	for _, c := range vectors.Verify {
		if c.Scheme != "vantagekit" {
			continue
		}
		prefix, seconds := vectors.HeaderPrefix, vectors.ToleranceSeconds
		if c.HeaderPrefix != nil {
			prefix = *c.HeaderPrefix
		}
		if c.ToleranceSeconds != nil {
			seconds = *c.ToleranceSeconds
		}
		headers := http.Header{}
		for name, value := range c.Headers {
			headers.Set(name, value)
		}
		tolerance := time.Duration(seconds) * time.Second
		answer := Verify(headers, []byte(c.Body), c.Secret, time.Unix(c.Now, 0), tolerance, prefix)
		if answer == c.Valid {
			passed++
		} else {
			failed++
			t.Errorf("%s: expected %v, but was %v", c.Name, c.Valid, answer)
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if passed == 0 {
		t.Error("the file has no case of this scheme")
	}
}
