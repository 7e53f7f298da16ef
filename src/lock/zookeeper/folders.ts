import { LinkLost, NO_NODE, NODE_EXISTS, unless, type Link } from './link.js'
import { foldersDown } from './paths.js'

/** What the folders hold that we create, so that we know them again. */
const mark = Buffer.from('spillway')

const already = (made: Promise<unknown>): Promise<unknown> => unless(NODE_EXISTS, made)

/**
 * Creates a folder; `false` if the one above it is missing. The client knows no container nodes, which the server would
 * remove by itself.
 */
export async function makeFolder(link: Link, folder: string): Promise<boolean> {
  return (
    (await unless(
      NO_NODE,
      already(link.create(folder, mark)).then(() => true),
    )) === true
  )
}

/** Creates a folder and all above it that are missing. */
export async function makeFolders(link: Link, folder: string): Promise<void> {
  await Promise.all(foldersDown('', folder).map((each) => already(link.create(each, mark))))
}

/** Removes a folder below `root`, and then those above it, as far as they are empty and were created by this library. */
export async function removeFolders(link: Link, root: string, folder: string): Promise<void> {
  if ((await unless(NO_NODE, link.children(folder)))?.length) return
  await removeUp(link, foldersDown(root, folder))
}

/** Removes the root, and the folders above it, likewise. */
export const removeRoot = (link: Link, root: string): Promise<void> => removeUp(link, foldersDown('', root))

/** From the last one up, in two round trips however many they are. */
async function removeUp(link: Link, folders: readonly string[]): Promise<void> {
  const upwards = [...folders].reverse()
  const contents = await Promise.all(upwards.map((each) => unless(NO_NODE, link.data(each))))
  const strange = contents.findIndex((data) => data !== undefined && !data.equals(mark))
  const ours = strange < 0 ? upwards : upwards.slice(0, strange)
  await Promise.all(ours.map((each) => removeEmpty(link, each)))
}

async function removeEmpty(link: Link, folder: string): Promise<void> {
  try {
    await link.remove(folder)
  } catch (error) {
    if (error instanceof LinkLost) throw error
  }
}
