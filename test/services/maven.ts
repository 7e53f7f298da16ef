import { access, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { findProgram, requireProgram, run } from './apt.js'
import { progress } from './resolve.js'

/** Something on Maven Central. */
export interface Artifact {
  readonly group: string
  readonly name: string
  readonly version: string
}

/** Where downloads are kept: `SPILLWAY_CACHE`, or the user's cache folder. */
export const cacheFolder = (environment: NodeJS.ProcessEnv = process.env): string =>
  environment['SPILLWAY_CACHE'] ?? join(environment['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'spillway')

const dependency = ({ group, name, version }: Artifact): string => `
    <dependency>
      <groupId>${group}</groupId>
      <artifactId>${name}</artifactId>
      <version>${version}</version>
    </dependency>`

/** A project whose only content is the artifacts, so that Maven finds all they need at run time. */
export const pom = (artifacts: readonly Artifact[]): string => `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>spillway</groupId>
  <artifactId>jars</artifactId>
  <version>1</version>
  <dependencies>${artifacts.map(dependency).join('')}
  </dependencies>
</project>
`

const GOAL = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

/**
 * The folder with the artifact's jars and all they need, from the cache or from Maven Central. `beside`: what the
 * artifact needs without saying so.
 */
export const mavenJars = async (artifact: Artifact, beside: readonly Artifact[] = []): Promise<string> => {
  const cache = cacheFolder()
  const folder = join(cache, [artifact, ...beside].map(({ name, version }) => `${name}-${version}`).join('+'))
  if (await exists(folder)) return folder
  const mvn = await requireProgram('maven', 'mvn')
  await mkdir(cache, { recursive: true })
  const work = await mkdtemp(join(cache, '.download-'))
  try {
    progress(`downloading ${artifact.name} ${artifact.version} and what it needs with Maven, once, into ${folder}`)
    await writeFile(join(work, 'pom.xml'), pom([artifact, ...beside]))
    const command = [mvn, '-q', '-B', '-f', join(work, 'pom.xml'), GOAL, '-DincludeScope=runtime']
    command.push(`-DoutputDirectory=${join(work, 'jars')}`)
    // Two Mavens at once can spoil each other's local repository.
    const flock = await findProgram('flock')
    if (flock) command.unshift(flock, join(cache, '.lock'))
    const [program, ...args] = command as [string, ...string[]]
    await run(program, args)
    // Whoever comes second finds the folder in place, complete, and leaves it.
    await rename(join(work, 'jars'), folder).catch(async (error: unknown) => {
      if (!(await exists(folder))) throw error
    })
    return folder
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
