package oauth_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// encodings are the forms in which a planted text is looked for.
func encodings(planted string) map[string]string {
	forms := map[string]string{
		"raw":    planted,
		"hex":    hex.EncodeToString([]byte(planted)),
		"HEX":    strings.ToUpper(hex.EncodeToString([]byte(planted))),
		"url":    url.QueryEscape(planted),
		"prefix": planted[:10],
	}
	forms["json"] = strings.Trim(strconv.Quote(planted), `"`)
	for offset, name := range []string{"base64+0", "base64+1", "base64+2"} {
		// The characters at both ends depend on the neighbours; those between do not.
		padded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + planted))
		forms[name] = padded[4 : len(padded)-4]
	}
	return forms
}

func TestLeaksAreFoundByTheirForms(t *testing.T) {
	t.Parallel()
	for name, form := range encodings(testClientSecret) {
		if len(leaks("before "+form+" after", testClientSecret)) == 0 {
			t.Errorf("the form %s is not found", name)
		}
	}
}

// S43: whatever the server says, and wherever, none of it is in the error.
func TestSecretEchoedByTheServerIsNowhere(t *testing.T) {
	t.Parallel()
	for name, form := range encodings(testClientSecret) {
		body := strconv.Quote(form)
		rows := map[string]hostileRow{
			"as error":             rejected(oauth.RequestRejected, 1, answer(400, "application/json", `{"error":`+body+`}`)),
			"as error with 401":    rejected(oauth.ClientRejected, 1, answer(401, "application/json", `{"error":`+body+`}`, "WWW-Authenticate: Basic realm="+body)),
			"as error with 200":    rejected(oauth.InvalidResponse, 1, ok(`{"error":`+body+`}`)),
			"as error object":      rejected(oauth.InvalidResponse, 1, ok(`{"error":{"`+form+`":`+body+`}}`)),
			"as description":       rejected(oauth.ClientRejected, 1, answer(400, "application/json", `{"error":"invalid_client","error_description":`+body+`,"error_uri":`+body+`}`)),
			"as token type":        rejected(oauth.InvalidResponse, 1, ok(`{"access_token":"a","token_type":`+body+`}`)),
			"as bad JSON":          rejected(oauth.InvalidResponse, 1, ok(`{"access_token":"`+form)),
			"as a number":          rejected(oauth.InvalidResponse, 1, ok(`{"access_token":`+form+`}`)),
			"as a page":            rejected(oauth.OutcomeUnknown, 1, answer(502, "text/html", "<p>"+form)),
			"as reason phrase":     rejected(oauth.RequestRejected, 1, raw("HTTP/1.1 403 "+form+"\r\nContent-Length: 0\r\n\r\n")),
			"as protocol":          rejected(oauth.OutcomeUnknown, 1, raw(form+" 200 OK\r\n\r\n")),
			"as status":            rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 "+form+"\r\n\r\n")),
			"as header line":       rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 200 OK\r\n"+form+"\r\n\r\n")),
			"as content length":    rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 200 OK\r\nContent-Length: "+form+"\r\n\r\n")),
			"as transfer encoding": rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: "+form+"\r\n\r\n")),
			"as chunk size":        rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+form+"x\r\n")),
			"as trailer":           rejected(oauth.OutcomeUnknown, 1, raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"+form+"\r\n\r\n")),
			"as location":          rejected(oauth.RequestRejected, 1, answer(302, "", "", "Location: https://"+form)),
			"as content type":      rejected(oauth.InvalidResponse, 1, answer(200, "application/json; charset="+form, goodBody)),
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runHostile(t, rows)
		})
	}
}

func TestSecretInTheEndpointsQueryIsNowhere(t *testing.T) {
	t.Parallel()
	closed := serve(t, ok(goodBody))
	_ = closed.listener.Close()
	for name, endpoint := range map[string]string{
		"refused":     closed.url() + "?key=" + testClientSecret,
		"unparsable":  "https://host:port/?key=" + testClientSecret,
		"other":       "ftp://127.0.0.1/" + testClientSecret,
		"userinfo":    "https://user:" + testClientSecret + "@127.0.0.1/",
		"bad escape":  "https://127.0.0.1/%zz" + testClientSecret,
		"bad control": "https://127.0.0.1/\x00" + testClientSecret,
	} {
		_, err := newClient(t, nil).Exchange(t.Context(), registration(endpoint), credentials())
		t.Log(name)
		checkFailure(t, err, oauth.NotSent)
	}
}

// The certificate is the server's text too, and crypto/x509 quotes it.
func TestSecretInTheCertificateIsNowhere(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	s := serveTLS(t, ca.config(t, func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = nil, []string{testClientSecret + ".example"}
	}), ok(goodBody))
	client := newClient(t, func(o *oauth.Options) { o.RootCAs = ca.pem() })
	_, err := client.Exchange(t.Context(), registration("https://127.0.0.1:"+s.port()), credentials())
	checkFailure(t, err, oauth.NotSent)
}

// net/http prints to the process's log what it finds on an idle connection. Not parallel: that log is one for all.
func TestNothingBehindAnAnswerReachesTheLog(t *testing.T) {
	var logged bytes.Buffer
	before := log.Writer()
	defer log.SetOutput(before)
	log.SetOutput(&logged)
	closed := make(chan struct{}, 2)
	surplus := "HTTP/1.1 200 OK\r\nX: " + testClientSecret + "\r\n\r\n"
	for name, piece := range map[string]string{
		"with a length": httpAnswer(200, "application/json", goodBody),
		"without body":  "HTTP/1.1 204 No Content\r\n\r\n",
		"chunked":       "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n2;extension=" + strings.Repeat("x", 100) + "\r\n{}\r\n0\r\n\r\n",
	} {
		s := serve(t, func(conn net.Conn, _ request) bool {
			_, _ = io.WriteString(conn, piece+surplus)
			_, _ = io.Copy(io.Discard, conn) // returns when the client has seen the surplus and closed
			closed <- struct{}{}
			return false
		})
		_, _ = newClient(t, nil).Exchange(t.Context(), registration(s.url()), credentials())
		<-closed
		if logged.Len() > 0 {
			t.Errorf("%s: the log holds what the server wrote: %d bytes", name, logged.Len())
		}
		logged.Reset()
	}
}

func TestErrorsMarshalWithoutSecrets(t *testing.T) {
	t.Parallel()
	_, err := oauth.Judge(400, http.Header{}, []byte(`{"error":"`+testClientSecret+`"}`), oauth.GrantClientCredentials, start())
	marshalled, marshalErr := json.Marshal(any(failureOf(t, err)))
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	if found := leaks(string(marshalled), testClientSecret); len(found) > 0 {
		t.Errorf("the marshalled error holds the secret as %v", found)
	}
}
