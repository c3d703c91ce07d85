// Command workload is a program that calls a provider's API all the time. It knows nothing of OAuth or Kubernetes: what it
// sends are the header lines in a file of its mounted Secret, which it reads again for each call.
//
// It must never remember a token: whether a call is accepted depends on the file alone.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const callTimeout = 10 * time.Second

type settings struct {
	name   string
	folder string
	ca     string
	urls   []string
	rate   float64
}

// workload makes calls, one after the other.
type workload struct {
	settings
	client *http.Client
	log    io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

// run calls until the context ends. A call that was not accepted, or could not be made, is an error in the end.
func run(ctx context.Context, args []string, log io.Writer) error {
	set, err := parse(args)
	if err != nil {
		return err
	}
	authorities, err := os.ReadFile(set.ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return errors.New("there is no certificate in the file that --ca names")
	}
	w := &workload{settings: set, log: log, client: &http.Client{
		Timeout:   callTimeout,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}}
	calls, failed := w.work(ctx)
	fmt.Fprintf(log, "%d calls, %d of them failed\n", calls, failed) //nolint:errcheck // a log
	if failed > 0 {
		return fmt.Errorf("%d of %d calls failed", failed, calls)
	}
	return nil
}

func (w *workload) work(ctx context.Context) (calls, failed int) {
	ticker := time.NewTicker(time.Duration(float64(time.Second) / w.rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return calls, failed
		case <-ticker.C:
		}
		// A call that has begun is finished: it would otherwise be one that the API answered and nobody heard.
		if err := w.call(context.WithoutCancel(ctx), w.urls[calls%len(w.urls)]); err != nil {
			failed++
			fmt.Fprintf(w.log, "%s %v\n", time.Now().UTC().Format(time.RFC3339Nano), err) //nolint:errcheck // a log
		}
		calls++
	}
}

// call makes one call with what the file says now.
func (w *workload) call(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if request.Header, err = readHeaders(filepath.Join(w.folder, "headers")); err != nil {
		return err
	}
	request.Header.Set("Test-Workload", w.name) // for the provider's ledger
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", url, response.Status, response.Header.Get("WWW-Authenticate"))
	}
	return nil
}

// readHeaders reads a file of header lines, as curl does with -H @file.
func readHeaders(path string) (http.Header, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		// The link was followed to a folder that was removed before the file in it was opened. The new one is there.
		content, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	scanner := bufio.NewScanner(strings.NewReader(string(content)))
	for scanner.Scan() {
		name, value, found := strings.Cut(scanner.Text(), ":")
		if !found {
			return nil, fmt.Errorf("%s has a line that is no header", path)
		}
		header.Add(name, strings.TrimSpace(value))
	}
	return header, scanner.Err()
}

func parse(args []string) (settings, error) {
	var set settings
	flags := flag.NewFlagSet("workload", flag.ContinueOnError)
	flags.StringVar(&set.name, "name", "", "how to call itself")
	flags.StringVar(&set.folder, "secret", "", "folder that the Secret is mounted at")
	flags.StringVar(&set.ca, "ca", "", "file with the certificate of the API's CA")
	flags.Float64Var(&set.rate, "rate", 10, "calls a second")
	flags.Func("url", "what to call; may be given several times", func(url string) error {
		set.urls = append(set.urls, url)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if set.name == "" || set.folder == "" || set.ca == "" || set.rate <= 0 || len(set.urls) == 0 || flags.NArg() > 0 {
		return set, errors.New("usage: workload --name NAME --secret FOLDER --ca FILE --url URL, the last once or more")
	}
	return set, nil
}
