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
	words := vocabulary(t)
	for name, form := range encodings(testClientSecret) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, r := range echoRows(form) {
				t.Run(r.behaviour, func(t *testing.T) {
					t.Parallel()
					play(t, words, r, oauth.GrantClientCredentials, r.credentials)
				})
			}
		})
	}
}

func echoRows(form string) []row {
	const asked, mine = oauth.RequestRejected, oauth.ClientRejected
	body := strconv.Quote(form)
	return []row{
		refused("S43", "as error", asked, asked, replies(withStatus(400, `{"error":`+body+`}`))),
		refused("S43", "as error with 401", mine, mine, replies(withStatus(401, `{"error":`+body+`}`, "WWW-Authenticate: Basic realm="+body))),
		invalid("S43", "as error with 200", says(`{"error":`+body+`}`)),
		invalid("S43", "as error object", says(`{"error":{"`+form+`":`+body+`}}`)),
		refused("S43", "as description", mine, mine, replies(withStatus(400, `{"error":"invalid_client","error_description":`+body+`,"error_uri":`+body+`}`))),
		invalid("S43", "as token type", says(`{"access_token":"a","token_type":`+body+`}`)),
		invalid("S43", "as bad JSON", says(`{"access_token":"`+form)),
		invalid("S43", "as a number", says(`{"access_token":`+form+`}`)),
		doubtful("S43", "as a page", replies(answer(502, "text/html", "<p>"+form))),
		refused("S43", "as reason phrase", asked, asked, replies(raw("HTTP/1.1 403 "+form+"\r\nContent-Length: 0\r\n\r\n"))),
		doubtful("S43", "as protocol", replies(raw(form+" 200 OK\r\n\r\n"))),
		doubtful("S43", "as status", replies(raw("HTTP/1.1 "+form+"\r\n\r\n"))),
		doubtful("S43", "as header line", replies(raw(okHead+form+"\r\n\r\n"))),
		doubtful("S43", "as content length", replies(raw(okHead+"Content-Length: "+form+"\r\n\r\n"))),
		doubtful("S43", "as transfer encoding", replies(raw(okHead+"Transfer-Encoding: "+form+"\r\n\r\n"))),
		doubtful("S43", "as chunk size", replies(raw(okHead+"Transfer-Encoding: chunked\r\n\r\n"+form+"x\r\n"))),
		doubtful("S43", "as trailer", replies(raw(okHead+"Transfer-Encoding: chunked\r\n\r\n0\r\n"+form+"\r\n\r\n"))),
		refused("S43", "as location", asked, asked, replies(answer(302, "", "", "Location: https://"+form))),
		invalid("S43", "as content type", replies(withType("application/json; charset="+form, goodBody))),
		invalid("S43", "as content encoding", replies(packed(200, goodBody, form))),
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
