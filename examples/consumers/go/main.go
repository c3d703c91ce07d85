// Command caller calls an API with the token of a mounted Secret, for as long as it runs: caller URL [FOLDER [INTERVAL]].
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Transport adds the header lines that a mounted Secret holds at that moment. It remembers nothing.
type Transport struct {
	Folder string // where the Secret is mounted
	Host   string // the API's; requests to others, as after a redirect, go without
}

// RoundTrip is part of http.RoundTripper.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Host == t.Host {
		lines, err := read(filepath.Join(t.Folder, "headers"))
		if err != nil {
			if request.Body != nil {
				err = errors.Join(err, request.Body.Close())
			}
			return nil, err
		}
		request = request.Clone(request.Context())
		for line := range strings.Lines(lines) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			request.Header.Set(name, value)
		}
	}
	return http.DefaultTransport.RoundTrip(request)
}

// read reads a file of the mount. Kubernetes removes the folder of an earlier version right after it has put a new one in its
// place: whoever was just about to open a file there finds none, and looks again.
func read(file string) (string, error) {
	for try := 1; ; try++ {
		content, err := os.ReadFile(file)
		if err == nil || try == 3 || !errors.Is(err, fs.ErrNotExist) {
			return string(content), err
		}
	}
}

func call(ctx context.Context, client *http.Client, api string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	_, readErr := io.Copy(io.Discard, response.Body)
	return errors.Join(err, readErr, response.Body.Close())
}

func main() {
	folder, interval := "/var/run/oauth", time.Minute
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: caller URL [FOLDER [INTERVAL]]")
		os.Exit(2)
	}
	api, err := url.Parse(os.Args[1])
	if len(os.Args) > 2 {
		folder = os.Args[2]
	}
	if len(os.Args) > 3 && err == nil {
		interval, err = time.ParseDuration(os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		os.Exit(2)
	}
	client := &http.Client{Transport: &Transport{Folder: folder, Host: api.Host}, Timeout: 10 * time.Second}
	for ; ; time.Sleep(interval) {
		if err := call(context.Background(), client, api.String()); err != nil {
			fmt.Fprintln(os.Stderr, "caller:", err)
		}
	}
}
