"""Lists of phrases for `phrasing.py`: requests, wishes, moments, purposes. Each sentence stands by itself and promises nothing of the picture."""

from __future__ import annotations

# Verbs with which a recipe's sentence may begin so that "please" fits before it.
VERBS = frozenset(
    "accelerate add age apply bathe blur boost brand bring brighten burn cartoonize change clean clear color colorize complete composite compress "
    "compensate convert cool correct cover darken defocus delete denoise desaturate detect dim drain draw duplicate emboss end enlarge erase even exchange "
    "extract fade fast-forward fill film find flatten flip frame freeze generate get give grade hide highlight hold imitate increase ink insert "
    "intensify invert keep lay lean leave let level lift light loosen lower make map mark match move mute open outline overlay paint pan pause place "
    "play populate posterize present press print produce protect pull push put quantize raise recolor redraw reduce reflect refresh relight relocate "
    "remove render repaint replace restore reveal reverse rewind rotate run scale segment set shake sharpen shift shoot show shrink simplify "
    "sketch slide slow smooth soften speed split stabilize stamp start steady stop straighten stretch substitute subtitle swap sweep take tilt throw tint "
    "tip tone trace transfer turn undo view warm wash watermark widen write zoom".split()
)
REQUESTS = (
    "please {core}",
    "could you {core}?",
    "can you {core}?",
    "would you {core}, please?",
    "I want you to {core}",
    "I'd like you to {core}",
    "I need you to {core}",
    "now {core}",
    "kindly {core}",
    "for this clip, {core}",
    "take this footage and {core}",
    "here is my request: {core}",
    "what I have in mind is simple: {core}",
    "the director's note says: {core}",
    "one more correction before we export: {core}",
    "my client insists that we {core}",
    "let us {core}",
    "go ahead and {core}",
    "in this recording, {core}",
    "as an experiment, {core}",
    "task for the editor: {core}",
)
CONTEXTS = (
    "The clip shows the following: {caption}",
    "What can be seen here: {caption}",
    "Description of the footage: {caption}",
    "Content of the shot: {caption}",
    "For orientation, this is what happens: {caption}",
)
WHEN = (
    "Do this {when} and nowhere else.",
    "The change should be visible {when}.",
    "It should only be noticeable {when}.",
    "Apply it {when}; the remaining frames belong to the original.",
    "Let it take effect {when}.",
    "Limit the alteration in time: {when}.",
    "The edit is wanted {when}, not earlier or later.",
    "Use it {when} and leave the other frames unchanged.",
)
KEEP_REST = (
    "Leave everything else exactly as it is.",
    "Nothing outside that area may change.",
    "All other pixels must remain identical to the original.",
    "Don't touch the remainder of the picture.",
    "The surroundings should stay untouched, down to the last detail.",
    "Preserve the rest of the frame faithfully.",
    "Be careful not to disturb neighboring things.",
    "Whatever lies beyond it keeps its color, its texture and its movement.",
    "Please restrict yourself to this one modification.",
    "People, buildings and objects elsewhere in the shot are not affected.",
    "Work precisely: no halo, no smudge and no leftover around the borders.",
    "Confine the intervention to what I mentioned and protect all neighboring regions.",
    "The other parts of the image are off limits.",
    "Treat the remaining picture as if it were locked.",
    "There must be no side effects anywhere else in the composition.",
    "I will compare both versions side by side, so avoid collateral changes.",
    "Keep the original wherever the request doesn't apply.",
    "Everybody and everything not mentioned stays just where it was.",
    "Mask it accurately, as a patient retoucher would, and spare the environment.",
    "Only this element is to be modified; the scene around it was approved already.",
)
KEEP_MOTION = (
    "Keep the composition and all movement as they are.",
    "The action, its rhythm and the framing should remain the same.",
    "Faces, gestures and outlines must stay recognizable.",
    "Whatever moves keeps moving exactly as before.",
    "Preserve the identity of everybody and everything in view.",
    "Don't invent or drop anything; the content stays the same.",
    "Retain the geometry of the scene: no object may shift, swell or vanish.",
    "The story remains unchanged, it merely looks different.",
    "Keep the original timing, down to each single frame.",
    "Maintain the camera's path and the perspective of the original recording.",
    "Only the appearance is to be altered, neither the content nor its choreography.",
    "Every object should be found in its accustomed position afterwards.",
    "Viewers should recognize the same event, shot from the same position.",
    "The staging, the blocking and the pace of the take were fine and must survive.",
    "Let structure and layout follow the source faithfully.",
    "Make sure that the underlying recording can still be identified at a glance.",
)
KEEP_LIGHT = (
    "Colors, exposure and contrast remain as they are.",
    "Do not change the light or the palette.",
    "Please don't regrade it; merely do what I ask.",
    "What appears in the scene must not be altered.",
    "Neither add nor remove anything.",
    "Sharpness, hue and brightness should match the original.",
    "The material itself stays authentic: no filters, no retouching.",
    "Avoid interlacing, ghosting and duplicated contours.",
    "It should feel like a deliberate decision of the cinematographer.",
    "Use no effects apart from this one.",
    "The objects keep their own colors and their own texture throughout.",
    "Execute it cleanly, without judder, black margins or compression artefacts.",
    "Everything else about the recording was approved and ought to persist.",
    "The picture quality must not suffer from it.",
)
STEADY = (
    "Apply it uniformly to each frame, so that nothing flickers.",
    "The treatment has to be consistent from the first to the last frame it covers.",
    "Avoid pulsating brightness and crawling textures between successive frames.",
    "It should be stable over time, as if the camera itself had recorded it like that.",
    "Carry the style through without exceptions, also in corners and dark zones.",
    "Be bold: half-hearted hints of it would not be enough.",
    "I want the full effect rather than a subtle suggestion.",
    "The strength should be evident at first sight.",
    "Fine structures should survive wherever this technique permits it.",
    "Keep it coherent: the same surface must always receive the same treatment.",
    "Think of it as a single continuous print and not as many separate pictures.",
    "Aim for a polished, professional finish that would pass quality control at a broadcaster.",
    "Handle thin twigs, hair and lettering with the same care as large surfaces.",
    "Process the entire picture including its margins.",
)
BELIEVABLE = (
    "It should look so natural that an unprepared audience would never question it.",
    "Match grain, focus and illumination of the surrounding footage.",
    "Respect perspective, depth and the direction from which the light falls.",
    "An attentive viewer shouldn't be able to tell that a computer was involved.",
    "Pay attention to the ground contact; nothing may float or slide.",
    "Shadows belong to it, please think of them as well.",
    "The outcome has to withstand a frame-by-frame inspection on a large screen.",
    "Take the movement of the camera into account, so that it stays in register.",
    "Integrate it seamlessly, like a seasoned compositor at a visual effects studio.",
    "Plausibility matters more to me than spectacle.",
    "Everything physical about the place, from occlusion to shading, has to add up.",
    "It must stay put in the scene and neither jitter nor drift.",
    "Edges should be neither razor-sharp nor mushy, just like those of other things nearby.",
    "The transition towards its vicinity should be invisible.",
)
PURPOSES = (
    "It is for {use}.",
    "We need it for {use}.",
    "The result goes into {use}.",
    "I intend to use it in {use}.",
    "This version is meant for {use}.",
)
USES = (
    "a music video", "a travel blog", "our school project", "a wedding film", "the trailer of a thriller", "a cooking channel", "a museum exhibition",
    "an evening news report", "a birthday greeting", "a nature documentary", "the opening credits", "a charity campaign", "an online tutorial",
    "a science lecture", "a theater projection", "the company's website", "a comedy sketch", "a bedtime story", "a fashion commercial",
    "an art installation", "a podcast episode", "the holiday album", "a safety training", "a football club's newsletter", "a video essay",
    "a short film festival", "a real estate presentation", "the anniversary of our choir", "a crowdfunding page", "a nostalgic flashback",
    "a dream sequence", "an animated postcard", "a computer game's cutscene", "the menu of a DVD", "a shop window display", "a kindergarten party",
    "a local television station", "an architecture seminar", "a poetry reading", "a magician's advertisement", "a historical reconstruction",
    "the portfolio of a student", "a meditation app", "an escape room", "a detective series", "a hiking guide", "a retirement party",
    "a scientific figure", "the intermission of a concert", "a satirical magazine",
)  # fmt: skip
