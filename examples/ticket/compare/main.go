// The ticketing server of the document: a local stock in the memory of the process, then the total in Redis by one Lua
// call per order, and an order is sold only if both had a ticket. Order messages leave in the background.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/redis/go-redis/v9"
)

// KEYS[1]  hash with the fields total and sold; answers 1 if a ticket was sold, else 0
var sellOne = redis.NewScript(`
local total = tonumber(redis.call('HGET', KEYS[1], 'total'))
local sold = tonumber(redis.call('HGET', KEYS[1], 'sold'))
if sold >= total then return 0 end
redis.call('HINCRBY', KEYS[1], 'sold', 1)
return 1
`)

var (
	soldAnswer    = []byte(`{"ok":true}`)
	soldOutAnswer = []byte(`{"ok":false,"reason":"sold-out"}`)
)

type message struct{ orderID string }

func main() {
	address := flag.String("address", "127.0.0.1:0", "host and port to listen on")
	redisAddress := flag.String("redis", "127.0.0.1:6379", "host and port of Redis")
	key := flag.String("key", "document:tickets", "the hash of the total stock")
	total := flag.Int64("total", 1_000, "tickets in Redis")
	local := flag.Int64("local", 1_200, "tickets of this process")
	pool := flag.Int("pool", 64, "connections to Redis")
	oneAtATime := flag.Bool("one-at-a-time", false, "decide under one lock, as the document's program does")
	flag.Parse()

	client := redis.NewClient(&redis.Options{Addr: *redisAddress, PoolSize: *pool})
	background := context.Background()
	if err := client.HSet(background, *key, "total", *total, "sold", 0).Err(); err != nil {
		log.Fatal(err)
	}
	if err := sellOne.Load(background, client).Err(); err != nil {
		log.Fatal(err)
	}

	// What stands for the message queue and its consumer, the order service.
	messages := make(chan message, 1<<16)
	go func() {
		for range messages {
		}
	}()

	var left atomic.Int64
	left.Store(*local)
	keys := []string{*key}

	hlog.SetOutput(os.Stderr)
	hlog.SetLevel(hlog.LevelWarn)
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	h := server.New(server.WithListener(listener), server.WithDisablePrintRoute(true))
	var lock sync.Mutex
	h.POST("/grab", func(ctx context.Context, c *app.RequestContext) {
		if *oneAtATime {
			lock.Lock()
			defer lock.Unlock()
		}
		if left.Add(-1) < 0 {
			left.Add(1)
			c.Data(409, "application/json", soldOutAnswer)
			return
		}
		sold, err := sellOne.Run(ctx, client, keys).Int()
		if err != nil {
			left.Add(1)
			c.String(503, err.Error())
			return
		}
		if sold == 0 {
			c.Data(409, "application/json", soldOutAnswer)
			return
		}
		messages <- message{orderID: string(c.GetHeader("Idempotency-Key"))}
		c.Data(202, "application/json", soldAnswer)
	})
	fmt.Printf("listening on http://%s\n", listener.Addr())
	h.Spin()
}
