import type { FastifyReply } from 'fastify'
import type { Problem } from '../shared/http.js'
import type { Cancellation, Decision } from './service.js'
import type { Settlement } from './till.js'

export const problem = (error: string, message: string, more: object = {}): Problem => ({ error, message, ...more })
export const unknownShow = problem('unknown-show', 'There is no such show.')
export const unknownOrder = problem('unknown-order', 'This show has no such order.')

const afterSeconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1_000))

/** 503: the same request may be sent again. */
const tryAgain = (reply: FastifyReply, body: Problem): FastifyReply =>
  reply.code(503).header('retry-after', 1).send(body)

export const answerSuspended = (reply: FastifyReply): FastifyReply =>
  tryAgain(
    reply,
    problem('suspended', 'The stock of this show is being brought back. Try again: nothing is sold twice.'),
  )

export function answerBuyer(reply: FastifyReply, orderId: string, decision: Decision): FastifyReply {
  switch (decision.kind) {
    case 'accepted':
      return reply.code(202).send({ orderId, state: 'accepted', replayed: decision.replayed })
    case 'held': {
      const { kind: state, ...held } = decision
      return reply.code(201).send({ orderId, state, ...held })
    }
    case 'soldOut': {
      const { available } = decision
      const message = available === 0 ? 'No tickets are left.' : `Only ${available} left.`
      return reply.code(409).send(problem('sold-out', message, { available }))
    }
    case 'buyerLimit':
      return reply.code(409).send(problem('buyer-limit', 'This buyer has as many tickets as one may have.'))
    case 'spent':
      return reply.code(409).send(problem('spent', 'This order has ended. Order again with another key.'))
    case 'conflict':
      return reply
        .code(409)
        .send(problem('conflict', 'This key was used for another buyer, another quantity, or another way of buying.'))
    case 'notOpen': {
      const { opensAtMs } = decision
      return reply.code(409).send(problem('not-open', 'The sale has not begun.', { opensAtMs }))
    }
    case 'inLine': {
      const { kind: _kind, ...place } = decision
      void reply.header('retry-after', afterSeconds(place.dueInMs))
      return reply
        .code(429)
        .send(problem('in-line', 'You have a place in line. Come back with it when it is due.', place))
    }
    case 'full':
      void reply.header('retry-after', 60)
      return reply.code(429).send(problem('line-full', 'The line is longer than an hour. Try again later.'))
    case 'early': {
      const { dueAtMs, dueInMs } = decision
      void reply.header('retry-after', afterSeconds(dueInMs))
      return reply.code(425).send(problem('early', 'This place in line is not due yet.', { dueAtMs, dueInMs }))
    }
    case 'lapsed': {
      const { lapsedAtMs } = decision
      const message = 'This place in line has lapsed: nobody came for a while after it was due. Ask for another.'
      return reply.code(410).send(problem('lapsed', message, { lapsedAtMs }))
    }
    case 'forged':
      return reply.code(403).send(problem('forged', 'This is no place in line for this show and this key.'))
    case 'suspended':
      return answerSuspended(reply)
    case 'unknown':
      return reply.code(404).send(unknownShow)
  }
}

const answerOver = (reply: FastifyReply, state: string): FastifyReply =>
  reply.code(409).send(problem('over', `This order is ${state}.`, { state }))

export function answerSettlement(reply: FastifyReply, orderId: string, settlement: Settlement): FastifyReply {
  switch (settlement.kind) {
    case 'paid':
    case 'refunded': {
      const { kind, amountCents, replayed } = settlement
      return reply.send({ orderId, state: kind === 'paid' ? 'recorded' : kind, amountCents, replayed })
    }
    case 'over':
      return answerOver(reply, settlement.state)
    case 'ended':
      return reply.code(410).send(problem('ended', 'Nothing is held under this key any more. No money was taken.'))
    case 'declined':
      return reply.code(402).send(problem('declined', 'The card was declined. The tickets are still held.'))
    case 'rejected':
      return reply.code(409).send(problem('rejected', 'The order could not be recorded. No money was taken.'))
    case 'notRecorded':
      return tryAgain(
        reply,
        problem('not-recorded', 'This order is on its way to the database. Try again in a moment.'),
      )
    case 'suspended':
      return answerSuspended(reply)
    case 'unknown':
      return reply.code(404).send(unknownOrder)
    case 'unknownShow':
      return reply.code(404).send(unknownShow)
  }
}

export function answerCancellation(reply: FastifyReply, orderId: string, cancelled: Cancellation): FastifyReply {
  switch (cancelled.kind) {
    case 'cancelled':
      return reply.send({ orderId, state: cancelled.kind })
    case 'expired':
      return reply.code(410).send(problem('ended', 'The hold has ended by itself.'))
    case 'sold':
      return reply.code(409).send(problem('sold', 'This order is sold. Ask for a refund.'))
    case 'over':
      return answerOver(reply, cancelled.state)
    case 'suspended':
      return answerSuspended(reply)
    case 'unknown':
      return reply.code(404).send(unknownOrder)
    case 'unknownShow':
      return reply.code(404).send(unknownShow)
  }
}
