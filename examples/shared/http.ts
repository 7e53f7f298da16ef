import { existsSync } from 'node:fs'
import type { Socket } from 'node:net'
import fastifyStatic from '@fastify/static'
import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { ClosedError } from 'spillway'
import { isStoreAway } from './away.js'

/** Every refusal is answered with one of these. `error` is for programs, `message` for people. */
export interface Problem {
  readonly error: string
  readonly message: string
}

export const problemSchema = {
  type: 'object',
  required: ['error', 'message'],
  properties: { error: { type: 'string' }, message: { type: 'string' } },
  additionalProperties: true,
} as const

export interface WebOptions {
  readonly title: string
  readonly description: string
  /** Which stores answer. The service is ready when all do. */
  readonly stores: () => Promise<Readonly<Record<string, boolean>>>
  /** In Prometheus' text format. */
  readonly metrics: () => Promise<string>
  /** Folders of files by the path they are served under. */
  readonly files: Readonly<Record<string, string>>
  /** Told of every request that failed its schema, its body's syntax, or a store. */
  readonly onRefusal?: (request: FastifyRequest, status: number) => void
}

const bodyLimitBytes = 16 * 1_024
/** Whoever sends a request has about so long for all of it; without this a body may take for ever. */
const requestTimeoutMs = 30_000

/** A Fastify with what all examples share: strict JSON schemas, problems as JSON, OpenAPI, health and metrics. */
export async function createWeb(options: WebOptions): Promise<FastifyInstance> {
  const app = fastify({
    logger: false,
    bodyLimit: bodyLimitBytes,
    forceCloseConnections: 'idle',
    keepAliveTimeout: 65_000,
    requestTimeout: requestTimeoutMs,
    http: { headersTimeout: requestTimeoutMs, connectionsCheckingInterval: 5_000 },
    routerOptions: { maxParamLength: 200 },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: false } },
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply),
    clientErrorHandler: answerNoRequest,
  })

  app.setErrorHandler((error: FastifyError, request, reply) => {
    const status = answerError(error, request, reply)
    options.onRefusal?.(request, status)
  })
  app.setNotFoundHandler((request, reply) => {
    void reply.code(404).send({ error: 'not-found', message: `There is no ${request.method} ${pathOf(request)}.` })
  })

  await app.register(fastifySwagger, {
    openapi: { info: { title: options.title, description: options.description, version: '1.0.0' } },
  })
  await app.register(fastifySwaggerUi, { routePrefix: '/docs' })
  await addFiles(app, options.files)
  addVitals(app, options)
  letGoOnClose(app)
  return app
}

/** What Node could not read as a request, by its code; all else is not well-formed. */
const unread: Readonly<Record<string, readonly [status: string, error: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'headers-too-large', 'The headers are too long.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'timeout', 'The request did not come in time.'],
}

/** Answers what is not even a request in the manner of the rest. */
function answerNoRequest(error: { readonly code?: string }, socket: Socket): void {
  if (!socket.writable) return void socket.destroy()
  const malformed = ['400 Bad Request', 'bad-request', 'This is not a well-formed HTTP request.'] as const
  const [status, name, message] = unread[error.code ?? ''] ?? malformed
  const body = JSON.stringify({ error: name, message })
  socket.write(`HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n`)
  socket.end(`Connection: close\r\n\r\n${body}`)
}

/** How long a connection that has not carried a request yet may still bring one while the server closes. */
const firstRequestMs = 1_000

/**
 * Node's server ends when its last connection does. Those that stay open after their answer would keep it for their
 * time-out, and those that were opened ahead, as browsers do, for longer.
 */
function letGoOnClose(app: FastifyInstance): void {
  const unused = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    unused.add(socket)
    socket.once('close', () => unused.delete(socket))
  })
  app.server.on('request', ({ socket }) => unused.delete(socket))
  app.addHook('preClose', async () => {
    const sinceMs = performance.now()
    const timer = setInterval(() => {
      app.server.closeIdleConnections()
      if (performance.now() - sinceMs > firstRequestMs) for (const socket of unused) socket.destroy()
    }, 50)
    app.server.once('close', () => clearInterval(timer))
  })
}

const pathOf = (request: FastifyRequest): string => request.url.split('?')[0] ?? request.url

/** Seconds after which a client may try again while a store is away. */
const retryAfterSeconds = 1

function answerError(error: FastifyError, request: FastifyRequest, reply: FastifyReply): number {
  const answer = (status: number, name: string, message: string): number => {
    void reply.code(status).send({ error: name, message })
    return status
  }
  if (error.validation) return answer(422, 'invalid', error.message)
  if (error instanceof ClosedError) return answer(503, 'closing', 'This server is shutting down.')
  if (isStoreAway(error)) {
    void reply.header('retry-after', retryAfterSeconds)
    return answer(503, 'unavailable', 'A store is away. Try again with the same key: nothing is done twice.')
  }
  if (error.statusCode !== undefined && error.statusCode < 500) {
    const name = (error.code ?? 'bad-request').replace(/^FST_(ERR_)?(CTP_)?/, '').replaceAll('_', '-')
    return answer(error.statusCode, name.toLowerCase(), error.message)
  }
  if (error.statusCode === 503) return answer(503, 'closing', 'This server is shutting down.')
  process.stderr.write(`${request.method} ${pathOf(request)}: ${error.stack ?? error.message}\n`)
  return answer(500, 'internal', 'Something is wrong with this server.')
}

async function addFiles(app: FastifyInstance, files: WebOptions['files']): Promise<void> {
  let decorateReply = true
  for (const [prefix, root] of Object.entries(files)) {
    if (!existsSync(root)) continue
    await app.register(fastifyStatic, { root, prefix, wildcard: false, decorateReply, schemaHide: true })
    decorateReply = false
  }
}

function addVitals(app: FastifyInstance, { stores, metrics }: WebOptions): void {
  const healthy = { type: 'object', properties: { status: { type: 'string' } } } as const
  const readiness = {
    type: 'object',
    properties: {
      ready: { type: 'boolean' },
      stores: { type: 'object', additionalProperties: { type: 'boolean' } },
    },
  } as const
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.get('/health', { schema: { summary: 'Whether the process lives', response: { 200: healthy } } }, async () => ({
    status: 'ok',
  }))
  app.get(
    '/ready',
    { schema: { summary: 'Whether it can sell now', response: { 200: readiness, 503: readiness } } },
    async (_request, reply) => {
      const answering = await stores()
      const ready = !closing && Object.values(answering).every(Boolean)
      return reply.code(ready ? 200 : 503).send({ ready, stores: answering })
    },
  )
  app.get(
    '/metrics',
    { schema: { summary: 'Metrics for Prometheus', response: { 200: { type: 'string' } } } },
    async (_request, reply) => reply.type('text/plain; version=0.0.4; charset=utf-8').send(await metrics()),
  )
}

const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

/**
 * From here on, every path that knows a method answers the others with 405 and what it allows.
 * To be called before the routes are added; returns what is to be called after.
 */
export function refuseOtherMethods(app: FastifyInstance): () => void {
  const known = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const allowed = known.get(url) ?? new Set()
    for (const one of [method].flat()) allowed.add(one)
    known.set(url, allowed)
  })
  return () => {
    for (const [url, allowed] of [...known]) {
      const allow = [...allowed].sort().join(', ')
      app.route({
        url,
        method: methods.filter((method) => !allowed.has(method)),
        schema: { hide: true },
        handler: async (_request, reply) =>
          reply
            .code(405)
            .header('allow', allow)
            .send({ error: 'method-not-allowed', message: `Allowed here: ${allow}.` }),
      })
    }
  }
}
