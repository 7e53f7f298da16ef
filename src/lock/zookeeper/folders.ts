import { isAnswer, LinkLost, NO_NODE, NODE_EXISTS, unless, type Link } from './link.js'
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

/** Removes a folder below `root`, and then those above it, as far as they are empty. */
export async function removeFolders(link: Link, root: string, folder: string): Promise<void> {
  if ((await unless(NO_NODE, link.children(folder)))?.length) return
  for (const each of foldersDown(root, folder).reverse()) if (!(await removeEmpty(link, each))) return
}

/** Removes the root, and the folders above it, as far as they are empty and were created by this library. */
export async function removeRoot(link: Link, root: string): Promise<void> {
  for (const each of foldersDown('', root).reverse()) {
    const data = await unless(NO_NODE, link.data(each))
    if (data && !data.equals(mark)) return
    if (data && !(await removeEmpty(link, each))) return
  }
}

/** Whether it is gone. */
async function removeEmpty(link: Link, folder: string): Promise<boolean> {
  try {
    await link.remove(folder)
    return true
  } catch (error) {
    if (error instanceof LinkLost) throw error
    return isAnswer(error, NO_NODE)
  }
}
