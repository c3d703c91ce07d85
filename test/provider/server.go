package provider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Outage is a way of not being there.
type Outage string

const (
	// NoOutage is the usual state.
	NoOutage Outage = "none"
	// Refusing closes the listener and all connections: clients are refused by the operating system.
	Refusing Outage = "refusing"
	// Answering503 answers every request with 503.
	Answering503 Outage = "answering-503"
)

// closeTimeout bounds how long Close waits for connections. What is held ends at once, so it is those that a client has
// opened and not used that take this long.
const closeTimeout = time.Second

// Server is a running provider.
type Server struct {
	clock         clock.PassiveClock
	loginHost     string
	ledgerFile    string
	ledger        *ledger
	registrations map[string]*Registration // the map never changes; secrets do, under mu
	script        *script
	certificates  *certificates // nil without TLS
	front         *listener
	control       *listener // nil without a control address
	closing       chan struct{}
	closeOnce     sync.Once
	closeError    error
	handlers      sync.WaitGroup

	// mu makes a token request one step: what it reads, what it changes, and its lines in the ledger.
	mu       sync.Mutex
	tokens   *tokenStore
	outage   Outage
	closed   bool
	requests uint64
	byClient map[string]int
	// revocations counts the requests to the revocation endpoints.
	revocations int

	holdsMu sync.Mutex
	holds   map[string]*Hold
}

// Start begins to serve. The caller ends it with Close.
func Start(options Options) (*Server, error) {
	server, err := prepare(options)
	if err != nil {
		return nil, fmt.Errorf("start the provider: %w", err)
	}
	if err := server.open(options); err != nil {
		return nil, errors.Join(fmt.Errorf("start the provider: %w", err), server.Close())
	}
	return server, nil
}

// prepare builds a server that does not listen yet. Its ledger is open and holds the registrations.
func prepare(options Options) (*Server, error) {
	server := &Server{
		clock:         options.Clock,
		loginHost:     options.LoginHost,
		ledgerFile:    options.LedgerFile,
		registrations: map[string]*Registration{},
		script:        &script{steps: map[string][]Step{}},
		closing:       make(chan struct{}),
		outage:        NoOutage,
		byClient:      map[string]int{},
		holds:         map[string]*Hold{},
	}
	if server.clock == nil {
		server.clock = clock.RealClock{}
	}
	retention := options.Retention
	if retention == 0 {
		retention = defaultRetention
	}
	var entries []Entry
	for _, each := range options.Registrations {
		registration, err := prepareRegistration(each)
		if err != nil {
			return nil, fmt.Errorf("registration %q: %w", each.ClientID, err)
		}
		if server.registrations[each.ClientID] != nil {
			return nil, fmt.Errorf("registration %q stands twice", each.ClientID)
		}
		server.registrations[each.ClientID] = registration
		// A grace that outlives the memory of spent tokens would end at a time that nobody chose.
		retention = max(retention, registration.Reuse.Grace)
		entries = append(entries, registration.entry())
	}
	server.tokens = newTokenStore(retention)
	var err error
	if options.LoginHost != "" && !options.TLS {
		return nil, errors.New("people log in at another host over TLS only: without it browsers take no cookie there that crosses sites")
	}
	if options.TLS {
		if server.certificates, err = newCertificates(options.Hosts); err != nil {
			return nil, err
		}
	}
	if server.ledger, err = openLedger(options.LedgerFile, server.clock.Now); err != nil {
		return nil, err
	}
	return server, server.ledger.append(true, entries...)
}

func (r *Registration) entry() Entry {
	return Entry{
		Kind:            KindRegistered,
		Contract:        r.Contract,
		ClientID:        r.ClientID,
		Scope:           strings.Join(r.Scopes, " "),
		LifetimeSeconds: int64(r.AccessTokenLifetime / time.Second),
		Accounts:        r.Accounts,
		Reuse:           r.Reuse.Kind,
		GraceSeconds:    r.Reuse.Grace.Seconds(),
	}
}

func (s *Server) open(options Options) error {
	var err error
	s.front = &listener{address: options.Listen, handler: s.routes()}
	if s.front.address == "" {
		s.front.address = "127.0.0.1:0"
	}
	if s.certificates != nil {
		s.front.tls = s.certificates.config()
	}
	if err = s.front.open(); err != nil {
		return err
	}
	if options.ControlListen == "" {
		return nil
	}
	if err = loopbackOnly(options.ControlListen); err != nil {
		return err
	}
	s.control = &listener{address: options.ControlListen, handler: s.controlRoutes()}
	return s.control.open()
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(tokenPath(SmartBusiness), s.tracked(s.serveToken(SmartBusiness)))
	mux.Handle(tokenPath(Smartbills), s.tracked(s.serveToken(Smartbills)))
	mux.Handle(authorizePath(SmartBusiness), s.tracked(s.serveAuthorize(SmartBusiness)))
	mux.Handle(authorizePath(Smartbills), s.tracked(s.serveAuthorize(Smartbills)))
	mux.Handle(revokePath(SmartBusiness), s.tracked(s.serveRevoke(SmartBusiness)))
	mux.Handle(revokePath(Smartbills), s.tracked(s.serveRevoke(Smartbills)))
	if s.loginHost != "" {
		mux.Handle(loginPath, s.tracked(s.serveLogin))
	}
	for _, each := range resources() {
		mux.Handle(each.pattern, s.tracked(s.serveResource(each)))
	}
	mux.Handle("/", s.tracked(s.serveResource(resource{})))
	return mux
}

// tracked lets Close wait for the requests that are under way, those on connections that an outage has closed too.
func (s *Server) tracked(handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		s.handlers.Add(1)
		s.mu.Unlock()
		defer s.handlers.Done()
		handler(w, r)
	})
}

func tokenPath(contract Contract) string {
	if contract == Smartbills {
		return "/connect/token"
	}
	return "/v2/auth/access-tokens"
}

func authorizePath(contract Contract) string {
	if contract == Smartbills {
		return "/connect/authorize"
	}
	return "/v2/auth/authorize"
}

func revokePath(contract Contract) string {
	if contract == Smartbills {
		return "/connect/revoke"
	}
	return "/v2/auth/revoke"
}

// URL is scheme, host and port.
func (s *Server) URL() string { return s.front.url() }

// ControlURL is the base of the control API, "" if there is none.
func (s *Server) ControlURL() string {
	if s.control == nil {
		return ""
	}
	return s.control.url()
}

// TokenEndpoint is the URL for token requests.
func (s *Server) TokenEndpoint(contract Contract) string { return s.URL() + tokenPath(contract) }

// AuthorizeEndpoint is the URL to which a browser is sent.
func (s *Server) AuthorizeEndpoint(contract Contract) string {
	return s.URL() + authorizePath(contract)
}

// RevocationEndpoint is the URL for revocations (RFC 7009). Neither contract documents one.
func (s *Server) RevocationEndpoint(contract Contract) string { return s.URL() + revokePath(contract) }

// APIEndpoint is the base of the resource API, ending in /v2 or /v1.
func (s *Server) APIEndpoint(contract Contract) string {
	if contract == Smartbills {
		return s.URL() + "/v1"
	}
	return s.URL() + "/v2"
}

// CAPEM is the certificate of the CA that signed the server's, in PEM; nil without TLS.
func (s *Server) CAPEM() []byte {
	if s.certificates == nil {
		return nil
	}
	return s.certificates.authority
}

// Ledger returns all entries so far, and goes on doing so after Close. It panics if the ledger cannot be read: a test
// that went on with no entries would find nothing wrong with them.
func (s *Server) Ledger() []Entry {
	reader, err := s.ledger.reader()
	var entries []Entry
	switch {
	case err == nil:
		entries, _, err = decodeLedger(reader)
	case errors.Is(err, os.ErrClosed):
		entries, err = ReadLedger(s.ledgerFile)
	}
	if err != nil {
		panic(err)
	}
	return entries
}

// count numbers a token request.
func (s *Server) count(clientID string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.registrations[clientID] != nil {
		s.byClient[clientID]++
	}
	return s.requests
}

// TokenRequests is the number of requests that reached the token endpoints, refused and hanging ones too.
func (s *Server) TokenRequests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.requests) // #nosec G115 -- a count of requests in one test
}

// ClientTokenRequests is TokenRequests of one registered client.
func (s *Server) ClientTokenRequests(clientID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byClient[clientID]
}

// Script appends steps for the token requests of a client, or of every client if clientID is empty. The client's own
// steps come first. A client id that is not registered is allowed: such requests are refused, but they can be held.
func (s *Server) Script(clientID string, steps ...Step) error { return s.script.add(clientID, steps) }

// ClearScript forgets the steps for a client that have not begun.
func (s *Server) ClearScript(clientID string) { s.script.clear(clientID) }

// SetOutage begins or ends an outage. After Refusing, the same port is listened on again.
func (s *Server) SetOutage(outage Outage) error {
	if outage != NoOutage && outage != Refusing && outage != Answering503 {
		return fmt.Errorf("unknown outage %q", outage)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return http.ErrServerClosed
	}
	if s.outage == outage {
		return nil
	}
	var err error
	switch {
	case outage == Refusing:
		err = s.front.cut()
	case s.outage == Refusing:
		err = s.front.open()
	}
	if err != nil {
		return fmt.Errorf("set the outage: %w", err)
	}
	s.outage = outage
	return s.ledger.append(true, Entry{Kind: KindOutage, Reason: string(outage)})
}

// SetAvailable is SetOutage with NoOutage or Refusing.
func (s *Server) SetAvailable(available bool) error {
	if available {
		return s.SetOutage(NoOutage)
	}
	return s.SetOutage(Refusing)
}

func (s *Server) unavailable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outage == Answering503
}

// Close stops serving, abandons what is held, and syncs the ledger. It may be called again.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		close(s.closing)
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		for _, each := range []*listener{s.front, s.control} {
			if each != nil {
				s.closeError = errors.Join(s.closeError, each.close(ctx))
			}
		}
		s.handlers.Wait()
		s.closeError = errors.Join(s.closeError, s.ledger.close())
	})
	return s.closeError
}
