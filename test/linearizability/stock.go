package main

// The sequential specification of one SKU.

import (
	"hash/fnv"
	"math"
	"sort"

	"github.com/anishathalye/porcupine"
)

// call is one line of a history: what one caller asked, when, and what it was told.
type call struct {
	Sku      string `json:"sku"`
	Verb     string `json:"verb"`
	ID       string `json:"id"`
	Quantity int    `json:"quantity"`
	Buyer    string `json:"buyer"`
	Limit    int    `json:"limit"`
	HoldMs   int64  `json:"holdMs"`
	// Gated: a gate of the caller's process may have said sold out by itself.
	Gated bool `json:"gated"`
	// Resent: the client may have sent the call twice, so that the answer is that of the second time.
	Resent bool `json:"resent"`
	// CallUs and ReturnUs: microseconds of the machine's monotonic clock. No return: the outcome is unknown.
	CallUs   int64   `json:"callUs"`
	ReturnUs *int64  `json:"returnUs"`
	Answer   *answer `json:"answer"`
	// Set by the checker.
	order, buyer int
	mustChange   bool
}

// mayNeverHappen: its outcome is unknown, and it may have had none.
func (c *call) mayNeverHappen() bool { return c.ReturnUs == nil }

// answer has an outcome as test/linearizability/history.ts names it.
type answer struct {
	Outcome   string `json:"outcome"`
	Available int    `json:"available"`
	Total     int    `json:"total"`
	Held      int    `json:"held"`
	Sold      int    `json:"sold"`
}

// sale is a state. Each order has five bytes in orders: state, units, buyer, and the units that came back, by a partial
// confirmation and otherwise, and are not on sale yet. A restock is an order in the state 'R'.
type sale struct {
	open, over                   bool
	total, available, held, sold int
	orders                       string
}

const (
	width      = 5
	none       = byte(0)
	lateOfPart = 3
	lateOfAll  = 4
)

func (s sale) at(order, field int) int { return int(s.orders[order*width+field]) }

func (s sale) state(order int) byte { return s.orders[order*width] }

func (s sale) set(order, field int, value int) sale {
	bytes := []byte(s.orders)
	bytes[order*width+field] = byte(value)
	s.orders = string(bytes)
	return s
}

// late counts the units that came back and are not on sale yet.
func (s sale) late() int {
	sum := 0
	for i := 0; i < len(s.orders); i += width {
		sum += int(s.orders[i+lateOfPart]) + int(s.orders[i+lateOfAll])
	}
	return sum
}

func (s sale) boughtBy(buyer int) int {
	sum := 0
	for i := 0; i < len(s.orders); i += width {
		if state := s.orders[i]; int(s.orders[i+2]) == buyer && (state == 's' || state == 'h') {
			sum += int(s.orders[i+1])
		}
	}
	return sum
}

// decide tells the outcome of a sale or a hold, and the state after it.
func (s sale) decide(c *call) (string, sale) {
	state, wanted := byte('s'), "ok"
	if c.Verb == "reserve" {
		state = 'h'
	}
	if !s.open {
		return "not-open", s
	}
	switch known := s.state(c.order); {
	case known == none:
	case known != 's' && known != 'h':
		return "spent", s
	case known != state || s.at(c.order, 1) != c.Quantity:
		return "conflict", s
	default:
		return "replayed", s
	}
	if c.Quantity > s.available {
		return "sold-out", s
	}
	if c.buyer != 0 && s.boughtBy(c.buyer)+c.Quantity > c.Limit {
		return "buyer-limit", s
	}
	s = s.set(c.order, 0, int(state)).set(c.order, 1, c.Quantity).set(c.order, 2, c.buyer)
	s.available -= c.Quantity
	if state == 's' {
		s.sold += c.Quantity
	} else {
		s.held += c.Quantity
	}
	return wanted, s
}

var settled = map[string]map[byte]string{
	"confirm": {none: "unknown", 's': "already", 'c': "cancelled", 'r': "cancelled", 'e': "expired"},
	"cancel":  {none: "unknown", 's': "confirmed", 'c': "already", 'r': "already", 'e': "expired"},
	"refund":  {none: "unknown", 'h': "unknown", 'c': "cancelled", 'r': "already", 'e': "expired"},
}

// settle tells the outcome of a confirmation, a cancellation or a refund, and the state after it.
func (s sale) settle(c *call, gates bool) (string, sale) {
	if !s.open {
		return "unknown", s
	}
	state, units := s.state(c.order), s.at(c.order, 1)
	if outcome, ok := settled[c.Verb][state]; ok {
		if outcome == "already" && state == 's' && c.Quantity > 0 && c.Quantity != units {
			return "conflict", s
		}
		return outcome, s
	}
	kept, after, late := 0, byte('c'), lateOfAll
	switch c.Verb {
	case "confirm":
		if c.Quantity > units {
			return "range", s
		}
		kept, after, late = units, 's', lateOfPart
		if c.Quantity > 0 {
			kept = c.Quantity
		}
	case "refund":
		after = 'r'
	}
	if state == 'h' {
		s.held -= units
	} else {
		s.sold -= units
	}
	s.sold += kept
	s = s.set(c.order, 0, int(after)).set(c.order, 1, kept)
	return "done", s.giveBack(c.order, late, units-kept, gates)
}

// giveBack puts units on sale, or lets them wait for `release` where gates may say sold out by themselves.
func (s sale) giveBack(order, late, units int, gates bool) sale {
	if gates {
		return s.set(order, late, s.at(order, late)+units)
	}
	s.available += units
	return s
}

func (s sale) restock(c *call, gates bool) (string, sale) {
	if !s.open {
		return "range", s
	}
	if s.state(c.order) != none {
		return "done", s
	}
	if s.available+s.late()+c.Quantity < 0 {
		return "range", s
	}
	s.total += c.Quantity
	s = s.set(c.order, 0, 'R')
	return "done", s.giveBack(c.order, lateOfAll, c.Quantity, gates && c.Quantity > 0)
}

// release puts units on sale that came back.
func (s sale) release(c *call) (bool, sale) {
	field := lateOfAll
	if c.HoldMs == lateOfPart {
		field = lateOfPart
	}
	units := s.at(c.order, field)
	if units == 0 {
		return !c.mustChange, s
	}
	s.available += units
	return true, s.set(c.order, field, 0)
}

// expire ends a hold, unless it was settled before.
func (s sale) expire(c *call) (bool, sale) {
	switch s.state(c.order) {
	case none:
		return !c.mustChange, s
	case 'h':
		units := s.at(c.order, 1)
		s.held -= units
		s.available += units
		return true, s.set(c.order, 0, 'e')
	}
	return true, s
}

// step tells whether a call may be answered so in a state, and the state after it. A call that may never happen has its
// place before the end of the history only where it changes something: without that, porcupine would try it everywhere.
func step(s sale, c *call, gates bool) (bool, sale) {
	if s.over {
		return true, s
	}
	may, next := s.apply(c, gates)
	return may && !(c.mayNeverHappen() && next == s), next
}

func (s sale) apply(c *call, gates bool) (bool, sale) {
	outcome, next := "", s
	switch c.Verb {
	case "end":
		next.over = true
		return true, next
	case "release":
		return s.release(c)
	case "expire":
		return s.expire(c)
	case "open":
		if outcome = "refused"; !s.open {
			outcome = "opened"
			next.open, next.total, next.available = true, c.Quantity, c.Quantity
		}
	case "level":
		got := *c.Answer
		if !s.open {
			return got.Outcome == "range", s
		}
		want := answer{"level", s.available + s.late(), s.total, s.held, s.sold}
		return got == want, s
	case "restock":
		outcome, next = s.restock(c, gates)
	case "sell", "reserve":
		outcome, next = s.decide(c)
		got := c.Answer
		if got != nil && outcome == got.Outcome && refuses[outcome] {
			// A gate tells what was left when it last asked.
			isRight := got.Available == s.available || c.Gated && outcome == "sold-out" && got.Available < c.Quantity
			return outcome == "not-open" || isRight, s
		}
	default:
		outcome, next = s.settle(c, gates)
	}
	if c.Answer == nil || outcome == c.Answer.Outcome {
		return true, next
	}
	// Of a basket it is known that something was taken, and not what.
	return c.Answer.Outcome == "taken" && (outcome == "ok" || outcome == "replayed"), next
}

var refuses = map[string]bool{"sold-out": true, "buyer-limit": true, "spent": true, "not-open": true}

// model is the specification of one SKU with that many orders, for porcupine.
func model(orders int, gates bool) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return sale{orders: string(make([]byte, orders*width))} },
		Step: func(state, input, _ interface{}) (bool, interface{}) {
			return step(state.(sale), input.(*call), gates)
		},
		Hash: func(state interface{}) uint64 {
			s := state.(sale)
			hash := fnv.New64a()
			hash.Write([]byte(s.orders))
			return hash.Sum64() ^ uint64(s.available)<<48 ^ uint64(s.held)<<32
		},
	}
}

// slackUs: by how much the server's clock and the history's may run apart while a hold lasts.
const slackUs = 50_000

// open ends when the history does.
const open = int64(math.MaxInt64)

// operations adds what happens without being asked: the second time that a client may have sent a call, the end of each
// hold, the moment at which units that came back are on sale in every process, and the end of the history.
func operations(calls []*call, gates bool) ([]porcupine.Operation, int) {
	orders, buyers := map[string]int{}, map[string]int{"": 0}
	number := func(of map[string]int, name string) int {
		if _, ok := of[name]; !ok {
			of[name] = len(of)
		}
		return of[name]
	}
	var history []porcupine.Operation
	add := func(c *call, from, until int64) {
		history = append(history, porcupine.Operation{Input: c, Call: from, Return: until})
	}
	for _, c := range withoutNeedless(calls) {
		c.order, c.buyer = number(orders, c.ID), number(buyers, c.Buyer)
		until := open
		if !c.mayNeverHappen() {
			until = *c.ReturnUs
		}
		add(c, c.CallUs, until)
		if c.Resent && c.Verb != "level" {
			twin := *c
			twin.Answer = nil
			add(&twin, c.CallUs, until)
		}
		done, isSure := mayHaveDone(c)
		if !done {
			continue
		}
		switch c.Verb {
		case "reserve":
			end := *c
			end.Verb, end.Answer, end.mustChange = "expire", nil, isSure
			last := open
			if until != open {
				last = until + c.HoldMs*1_001 + slackUs
			}
			add(&end, c.CallUs+c.HoldMs*1_000-slackUs, last)
		case "confirm", "cancel", "refund", "restock":
			if !gates || c.Verb == "restock" && c.Quantity < 0 || c.Verb == "confirm" && c.Quantity == 0 {
				continue
			}
			release := *c
			release.Verb, release.Answer, release.HoldMs = "release", nil, lateOfAll
			// A confirmation of all that is held gives nothing back.
			release.mustChange = isSure && c.Verb != "confirm" && c.Verb != "restock"
			if c.Verb == "confirm" {
				release.HoldMs = lateOfPart
			}
			if !isSure && until != open {
				until += 1_000_000
			}
			add(&release, c.CallUs, until)
		}
	}
	add(&call{Verb: "end"}, open-1, open)
	return history, len(orders)
}

// withoutNeedless leaves out calls of unknown outcome that no order of the others depends on: questions, and all but the
// first that ask the same, of which one alone can have had an effect.
func withoutNeedless(calls []*call) []*call {
	sort.Slice(calls, func(i, j int) bool { return calls[i].CallUs < calls[j].CallUs })
	asked := map[call]bool{}
	var needed []*call
	for _, c := range calls {
		if c.mayNeverHappen() {
			content := *c
			content.CallUs, content.Gated = 0, false
			if c.Verb == "level" || asked[content] {
				continue
			}
			asked[content] = true
		}
		needed = append(needed, c)
	}
	return needed
}

// mayHaveDone tells whether a call may have changed an order, and whether it surely did.
func mayHaveDone(c *call) (may, surely bool) {
	if c.Answer == nil {
		return true, false
	}
	outcome := c.Answer.Outcome
	if outcome == "ok" || outcome == "done" {
		return true, !c.Resent
	}
	return c.Resent || outcome == "taken", false
}
