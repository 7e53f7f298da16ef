import kafkajs from 'kafkajs'

interface Cluster {
  findGroupCoordinator(of: object): Promise<unknown>
  metadata(of: { topics: string[] }): Promise<{
    topicMetadata: { topic: string; partitionMetadata: { partitionId: number }[] }[]
  }>
}
interface Member {
  readonly memberId: string
  readonly memberMetadata: Buffer
}
type Assignment = Record<string, number[]>
type CreateAssigner = (config: { readonly cluster: Cluster }) => {
  readonly name: string
  readonly version: number
  assign(of: { members: Member[]; topics: string[] }): Promise<{ memberId: string; memberAssignment: Buffer }[]>
  protocol(of: { topics: string[] }): { name: string; metadata: Buffer }
}

const { MemberMetadata, MemberAssignment } = kafkajs.AssignerProtocol
const version = 0
const noBytes = Buffer.alloc(0)

/**
 * Deals the partitions of each topic to the members that asked for it, in turn. (That of kafkajs deals those of the
 * leader's topics to everybody: with two topics in a group, one of them would have no readers.)
 */
export function deal(
  subscriptions: ReadonlyMap<string, readonly string[]>,
  partitionsOf: ReadonlyMap<string, readonly number[]>,
): Map<string, Assignment> {
  const members = [...subscriptions.keys()].sort()
  const dealt = new Map<string, Assignment>(members.map((member) => [member, {}]))
  for (const [topic, partitions] of partitionsOf) {
    const readers = members.filter((member) => subscriptions.get(member)?.includes(topic))
    if (readers.length === 0) continue
    for (const [i, partition] of [...partitions].sort((a, b) => a - b).entries()) {
      const assignment = dealt.get(readers[i % readers.length] as string) as Assignment
      ;(assignment[topic] ??= []).push(partition)
    }
  }
  return dealt
}

/**
 * An assigner for kafkajs, with a door in front of each join: kafkajs has no call for "partitions are about to be taken
 * away", but it looks for its coordinator right before it joins, and hands the finder to its assigners.
 */
export function assignerWithDoor(beforeJoin: () => Promise<void>): CreateAssigner {
  return ({ cluster }) => {
    const find = cluster.findGroupCoordinator.bind(cluster)
    cluster.findGroupCoordinator = async (of) => {
      await beforeJoin()
      return find(of)
    }

    /** A topic that is there no more leaves the others alone. The client's own stay in the question: it keeps the answer. */
    async function partitionsOf(topic: string, own: readonly string[]): Promise<number[]> {
      const asked = [...new Set([...own, topic])]
      const { topicMetadata } = await cluster.metadata({ topics: asked }).catch((error: unknown) => {
        if (own.includes(topic)) throw error
        return { topicMetadata: [] }
      })
      const found = topicMetadata.find((one) => one.topic === topic)
      return found?.partitionMetadata.map(({ partitionId }) => partitionId) ?? []
    }

    return {
      name: 'RoundRobinAssigner',
      version,
      async assign({ members, topics: own }) {
        const subscriptions = new Map(
          members.map(({ memberId, memberMetadata }) => [
            memberId,
            MemberMetadata.decode(memberMetadata)?.topics ?? own,
          ]),
        )
        const partitions = new Map<string, number[]>()
        for (const topic of new Set([...subscriptions.values()].flat())) {
          partitions.set(topic, await partitionsOf(topic, own))
        }
        return [...deal(subscriptions, partitions)].map(([memberId, assignment]) => ({
          memberId,
          memberAssignment: MemberAssignment.encode({ version, assignment, userData: noBytes }),
        }))
      },
      protocol: ({ topics }) => ({
        name: 'RoundRobinAssigner',
        metadata: MemberMetadata.encode({ version, topics, userData: noBytes }),
      }),
    }
  }
}
